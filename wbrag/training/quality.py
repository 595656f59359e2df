"""Reading quality: how well a language model reads, in everything that the pipeline asks of it.

Closed book, the gold passages alone, five documents; evidence that is there word for word; a rewrite that is grounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wbrag.core.errors import EngineDied, WbragError
from wbrag.core.metrics import Interval, bootstrap_ci
from wbrag.core.reading import read_answer
from wbrag.core.sections import ChecksConfig
from wbrag.core.tasks import task
from wbrag.core.types import Evidence, Generator, Hit, Sampling, Unit
from wbrag.enrich.distil import EVIDENCE_TOKENS
from wbrag.enrich.distil_replies import parse_evidence, parse_unit
from wbrag.training.exercises import SENTENCES, SHARES, Exercise, Reading, answer_of, evidence_of, exercise, states
from wbrag.units.checks.grounding import grounding
from wbrag.units.checks.interface import CheckInput

ANSWERS = {"closed": "closed book", "gold": "gold passages alone", "documents": "five documents"}
TOKENS = {"evidence": EVIDENCE_TOKENS, "rewrite": 128}
ANSWER_TOKENS = 32
AT_ONCE = 16  # requests
FAILED = "replies that failed"


class Quality(NamedTuple):
    """One measure over `n` questions."""

    name: str
    n: int
    mean: float
    ci95: Interval


async def measure(
    generator: Generator,
    found: Sequence[Reading],
    seed: int,
    prompts_dir: str | None,
    done: Callable[[int, int], None],
) -> list[Quality]:
    """Every measure over `found`, asked of one model; a reply that fails counts as a wrong one.

    Raises the last `WbragError` where every reply failed, and `EngineDied` at once.
    """
    asked = [(r, one) for kind in SHARES for r in found if (one := exercise(r, seed, prompts_dir, kind))]
    gate, finished, failed = asyncio.Semaphore(AT_ONCE), 0, list[WbragError]()

    async def answered(reading: Reading, wanted: Exercise) -> dict[str, float]:
        nonlocal finished
        text, cut = "", False
        async with gate:
            try:
                sampling = Sampling(TOKENS.get(wanted.kind, ANSWER_TOKENS))
                reply = await generator.generate(wanted.prompt, sampling)
                text, cut = reply.text, reply.finish_reason == "length"
            except EngineDied:
                raise
            except WbragError as error:
                failed.append(error)
        finished += 1
        done(finished, len(asked))
        return scores(reading, wanted, text, cut)

    measured: dict[str, list[float]] = {}
    for found_ in await asyncio.gather(*(answered(*pair) for pair in asked)):
        for name, score in found_.items():
            measured.setdefault(name, []).append(score)
    if failed and len(failed) == len(asked):
        raise failed[-1]
    if failed:
        measured[FAILED] = [1.0] * len(failed) + [0.0] * (len(asked) - len(failed))
    return [Quality(name, len(own), sum(own) / len(own), bootstrap_ci(own)) for name, own in measured.items()]


def scores(reading: Reading, asked: Exercise, reply: str, cut: bool) -> dict[str, float]:
    """What a reply comes to, in [0, 1], by the name of each measure."""
    if asked.kind == "evidence":
        return _pointed(reading, asked, reply)
    if asked.kind == "rewrite":
        return _rewritten(reading, reply, cut)
    example, name, said = reading.example, ANSWERS[asked.kind], read_answer(reply)
    return {
        f"{name}, {metric}": task(example.task).score(said, example.golden_answers, metric)
        for metric in ("acc", "em", "f1")
    }


def _pointed(reading: Reading, asked: Exercise, reply: str) -> dict[str, float]:
    texts = {p.id: p for p in [*reading.gold, *reading.near]}
    shown = [Hit(id, texts[id].title, texts[id].text, 0.0) for id in asked.seen]
    found = parse_evidence(reply, shown, 2 * SENTENCES + 2)
    stated = _states("evidence", reading, " ".join(one.sentence for one in found))
    return {"evidence word for word": float(bool(found))} | stated


def _rewritten(reading: Reading, reply: str, cut: bool) -> dict[str, float]:
    evidence = [Evidence(reading.gold[place].id, said) for place, said in evidence_of(reading, answer_of(reading))]
    sources = tuple(p for p in reading.gold if p.id in {one.passage_id for one in evidence})
    title, text = parse_unit(reply, cut=cut)
    unit = Unit(title or sources[0].title, text, (reading.example.id,), (), tuple(evidence))
    grounded = bool(text) and grounding(CheckInput(unit, sources), ChecksConfig()).passed
    return {"rewrite grounded": float(grounded)} | _states("rewrite", reading, f"{title} {text}")


def _states(name: str, reading: Reading, text: str) -> dict[str, float]:
    """Whether the answer is in a text; labels of a closed set stand in none."""
    if task(reading.example.task).closed:
        return {}
    return {f"{name} states the answer": float(states(text, answer_of(reading)))}

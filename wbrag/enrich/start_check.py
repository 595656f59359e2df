"""Start check: the model is sent what the run will send, before any row, so that one that cannot answer is refused.

A prompt with a system part, documents and a question; the scores and probabilities that the run will ask for; and a
distillation. It is refused, in one sentence with the remedy, where it answers with nothing, with thinking alone, or is
cut off before it says anything; one that answers but cannot distil is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.tasks import as_data, reference, task
from wbrag.core.types import Generator, Hit, Messages, Sampling
from wbrag.enrich.distil import EVIDENCE_TOKENS
from wbrag.enrich.distil_replies import parse_evidence, parse_unit

QUESTION = "Who lit the lighthouse at Mirrow?"
DOCUMENTS = (
    Hit("1", "Mirrow Light", "The lighthouse at Mirrow was lit in 1871 by its keeper Odran Pell. It burns oil.", 0.9),
    Hit("2", "Quay of Tarn", "The quay of Tarn is built of grey basalt. Nine boats lie at it in winter.", 0.8),
)


SHARE = 0.05  # of replies without an answer, from which on a run says so
CUT_SHARE = 0.5  # of replies that were cut: a model that explains after its answer loses nothing by it
FALLBACK_SHARE, FEW = 0.5, 5  # of units that are no work of the model, and how many say something
REMEDY = "set enrich.distiller extractive, or name a larger model in distiller.generator"


async def start_check(
    generator: Generator,
    config: Config,
    distiller: Generator | None = None,
    *,
    task_name: str = "qa",
    question: str = QUESTION,
    documents: Sequence[Hit] = DOCUMENTS,
) -> str:
    """All that a run of these settings asks of its model, and of its `distiller` where it writes units.

    It distils `documents` for `question`, which are the run's own: a small model may know nothing but their kind.

    Raises `WbragError` for a model that cannot answer. Returns a sentence about one that answers and cannot distil,
    empty for one that can.
    """
    await check_answers(generator, config, task_name)
    if distiller is None or config.enrich.distiller == "extractive":
        return ""
    evidence, unit = await check_distils(distiller, config, question, documents)
    if evidence and unit:
        return ""
    lacks = "points at no sentence of its documents" if not evidence else "writes no paragraph"
    return f"the model answers, but {lacks} when it is asked to distil, so that units may be copies: {REMEDY}"


async def check_answers(generator: Generator, config: Config, task_name: str = "qa") -> None:
    """Ask as the run will ask. Raises `WbragError` for a reply that holds no answer."""
    g = config.generator
    prompt = task(task_name).messages(QUESTION, DOCUMENTS, config.prompts_dir)
    reply = await generator.generate(prompt, Sampling(g.max_answer_tokens, one_line=True))
    if not read_answer(reply.text):
        raise WbragError(no_answer(config, thinking=bool(reply.thinking), cut=reply.finish_reason == "length"))


def no_answer(config: Config, *, thinking: bool, cut: bool) -> str:
    """The sentence about a reply without an answer, with what to do."""
    g = config.generator
    model, most = f"the model {g.model!r}", g.max_answer_tokens + g.thinking_tokens
    if thinking:
        return (
            f"expected an answer from {model}, found thinking alone in {most} tokens: set "
            "generator.chat_template_kwargs {enable_thinking: false}, or make room with generator.thinking_tokens 2000"
        )
    if cut:
        return (
            f"expected an answer from {model}, found nothing readable in the first {most} tokens: "
            "raise generator.max_answer_tokens, or use a model that is tuned to follow instructions"
        )
    return (
        f"expected an answer from {model}, found an empty reply: use a model that is tuned to follow instructions, "
        "or check its chat template with generator.chat_template_kwargs and generator.system_prompt"
    )


async def check_distils(
    generator: Generator, config: Config, question: str, documents: Sequence[Hit]
) -> tuple[bool, bool]:
    """Whether the model names a sentence that exists, and writes a paragraph."""
    e = config.enrich

    def ask(name: str, **values: str) -> Messages:
        return render(name, config.prompts_dir, question=question, **values)

    asked = ask("evidence", documents=reference(documents), max_sentences=str(e.max_sentences))
    named = await generator.generate(asked, Sampling(EVIDENCE_TOKENS))
    found = parse_evidence(named.text, documents, e.max_sentences)
    wrote = await generator.generate(ask("rewrite", evidence=as_data(documents[0].text)), Sampling(e.max_unit_tokens))
    return bool(found), bool(parse_unit(wrote.text, cut=wrote.finish_reason == "length")[1])


def warnings(summary: Mapping[str, Any], config: Config) -> list[str]:
    """What a run should say of its replies and its units: one sentence for each kind that is too large a share."""
    ends = summary["ends"]
    replies = sum(ends.get(name, 0) for name in ("stop", "length", "empty", "thinking only"))
    said = []
    if replies and ends.get("thinking only", 0) > SHARE * replies:
        said.append(
            f"{ends['thinking only']} of {replies} replies were thinking alone: set generator.chat_template_kwargs "
            "{enable_thinking: false}, or raise generator.thinking_tokens"
        )
    if replies and ends.get("empty", 0) > SHARE * replies:
        said.append(f"{ends['empty']} of {replies} replies were empty: check the model and its chat template")
    if replies and ends.get("length", 0) > CUT_SHARE * replies:
        said.append(
            f"{ends['length']} of {replies} replies were cut at their limit: raise generator.max_answer_tokens, "
            f"now {config.generator.max_answer_tokens}"
        )
    if summary.get("accepted", 0) >= FEW and config.enrich.distiller == "llm":
        for name, what in (
            ("evidence", "the model named no sentence that exists"),
            ("rewrite", "it wrote no paragraph"),
        ):
            if (share := summary[f"{name}_fallback_rate"]) > FALLBACK_SHARE:
                said.append(f"for {share:.0%} of the units {what}: {REMEDY}")
    return said

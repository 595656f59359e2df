"""Model evaluation: right replies to each of wbrag's prompts, stage by stage. `python -m tools.demo_model.quality`.

Runs under vLLM, as in use, on worlds that training has not drawn, and on the demo world for the closed book.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from tools.demo_model.english import TASKS, English
from tools.demo_model.samples import Sample, closed_book, evidence, reading, rewrite
from wbrag.core.metrics import em
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.types import Completion, Message, Sampling
from wbrag.data.demo.facts import well_known
from wbrag.generators.vllm import VLLMGenerator

Draw = Callable[[random.Random], Sample]
SEED = 987_654  # training uses small seeds


def stages(n: int) -> dict[str, tuple[Draw, str, int]]:
    """Name -> (how to draw a sample, how to score its first reply, how many)."""
    known = well_known()
    return {
        "right passage alone": (lambda rng: reading(rng, 1, 1, absent=0), "exact", n),
        "three passages": (lambda rng: reading(rng, 3, 1, absent=0), "exact", n),
        "five passages": (lambda rng: reading(rng, 5, 1, absent=0), "exact", n),
        "evidence lines verbatim": (lambda rng: evidence(rng, 1), "lines", n),
        "rewrite faithful": (rewrite, "sentences", n),
        "closed book, well known": (lambda rng: closed_book(rng, known, share=1), "exact", n),
        "closed book, unknown": (lambda rng: closed_book(rng, (), share=0), "exact", n // 2),
    }


async def measure(model: str, n: int, english: English | None) -> dict[str, float]:
    """Share of right replies per stage; for evidence and rewrite, of the wanted lines or sentences found verbatim."""
    generator = VLLMGenerator(GeneratorConfig(model=model))
    found: dict[str, float] = {}

    async def run(name: str, draw: Draw, kind: str, count: int) -> None:
        rng = random.Random(SEED)
        scores = await asyncio.gather(*(_score(generator.generate, draw(rng), kind) for _ in range(count)))
        found[name] = round(sum(scores) / len(scores), 4)
        print(f"{name:<28}{found[name]:7.1%}  of {count}", flush=True)

    for name, (draw, kind, count) in stages(n).items():
        await run(name, draw, kind, count)
    if english:
        for task in TASKS:
            dev = iter(english.dev[task])
            await run(
                f"English {task} dev, gold passage",
                lambda rng, t=task, d=dev: english.sample(rng, t, next(d), 1),  # type: ignore[misc]
                "em",
                min(n, len(english.dev[task])),
            )
    await generator.close()
    return found


async def _score(generate: Callable[..., Awaitable[Completion]], sample: Sample, kind: str) -> float:
    prompt, reply = sample[0][0].removesuffix("\n<|answer|>"), sample[1][0].removesuffix("<|end|>")
    completion = await generate([Message("user", prompt)], Sampling(max_tokens=256))
    text = completion.text
    if kind == "lines":
        wanted, got = set(reply.splitlines()), set(text.splitlines())
        return len(wanted & got) / len(wanted | got)
    if kind == "sentences":
        wanted, got = set(reply.replace("\n", ". ").split(". ")), set(text.replace("\n", ". ").split(". "))
        return len(wanted & got) / len(wanted | got)
    return em(text, [reply])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--english", default="", help="folder with question sets in FlashRAG's format")
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    args = parser.parse_args()
    found = asyncio.run(measure(args.model, args.n, English(Path(args.english)) if args.english else None))
    if args.out:
        Path(args.out).write_text(json.dumps({"n": args.n, "seed": SEED, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

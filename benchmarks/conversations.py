"""Conversations with an endpoint: answers right, citations right, silence told, by turn and kind.

    wbrag serve --workspace demo --generator.model smollm2 &        # and again with --serving.condense false
    python benchmarks/conversations.py http://127.0.0.1:8000 --label condensed --out conversations.json

Sixty conversations of two to four turns about the demo's world (`conversations.jsonl`). Every turn is asked with the
earlier ones as they should have been answered, so that one turn's mistake is not the next one's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai

from wbrag.core.tasks import task as known_task

SET = Path(__file__).with_name("conversations.jsonl")
AT_ONCE = 2
SILENT = "The documents do not say."
DENIES = re.compile(
    r"\b(?:do(?:es)?|did|is|are|was|were|has|have|can) ?(?:not|n't)\b.{0,40}"
    r"\b(?:say|state|mention|contain|hold|provide|give|specif\w+|know\w*|answer|tell|includ\w+|found|find)"
    r"|\bno (?:information|mention|answer|document)|\bunknown\b",
    re.IGNORECASE,
)


class Turn(NamedTuple):
    """One question as it was answered. `cites`: of the documents that are cited, how many hold the fact, and of all."""

    kind: str
    number: int
    silent: bool
    right: bool
    denied: bool
    found: bool
    cites: tuple[int, int]
    answer: str
    query: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--key", default="none")
    parser.add_argument("--task", default=None, help="default: the endpoint's own")
    parser.add_argument("--alone", action="store_true", help="send each question without the earlier turns")
    parser.add_argument(
        "--standalone", action="store_true", help="send each question as it stands alone: the most there is"
    )
    parser.add_argument("--label", required=True)
    parser.add_argument("--limit", type=int, help="only so many conversations")
    parser.add_argument("--out", type=Path, help="figures are added to this file")
    a = parser.parse_args()
    rows = [json.loads(line) for line in SET.read_text(encoding="utf-8").splitlines()][: a.limit]
    turns = asyncio.run(converse(a, rows))
    figures = {"label": a.label, "conversations": len(rows), **summary(turns)}
    print(json.dumps(figures, indent=1))
    print(json.dumps(by_kind(turns), indent=1))
    if a.out:
        known = json.loads(a.out.read_text(encoding="utf-8")) if a.out.exists() else []
        kept = [row for row in known if row["label"] != a.label]
        told = [turn._asdict() for turn in turns]
        a.out.write_text(json.dumps([*kept, {**figures, "turns": told}], indent=1) + "\n", encoding="utf-8")


async def converse(a: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> list[Turn]:
    slots, units = asyncio.Semaphore(AT_ONCE), Units(a.url, a.key)
    async with openai.AsyncOpenAI(base_url=f"{a.url}/v1", api_key=a.key, timeout=300) as client:

        async def ask(row: dict[str, Any], number: int) -> Turn:
            turn, before = row["turns"][number], row["turns"][:number]
            alone = a.alone or a.standalone
            messages: list[Any] = [] if alone else [message for earlier in before for message in said(earlier)]
            messages.append({"role": "user", "content": turn["standalone" if a.standalone else "question"]})
            async with slots:
                options = {"task": a.task} if a.task else {}
                reply: Any = await client.chat.completions.create(
                    model="wbrag", messages=messages, max_tokens=96, extra_body={"wbrag": options}
                )
            print(".", end="", file=sys.stderr, flush=True)
            return await judged(row["kind"], number, turn, reply, units)

        asked = [ask(row, number) for row in rows for number in range(len(row["turns"]))]
        return list(await asyncio.gather(*asked))


def said(turn: dict[str, Any]) -> list[dict[str, str]]:
    answer = f"{turn['answer'][0]}." if turn["answer"] else SILENT
    return [{"role": "user", "content": turn["question"]}, {"role": "assistant", "content": answer}]


class Units:
    """What units were made of, as the endpoint's desk knows them."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.headers, self.known = url, {"authorization": f"Bearer {key}"}, dict[str, str]()

    async def page(self, id: str) -> str:
        if id not in self.known:
            async with httpx.AsyncClient(headers=self.headers, timeout=60) as client:
                self.known[id] = (await client.get(f"{self.url}/desk/units/{id}")).text
        return self.known[id]


async def judged(kind: str, number: int, turn: dict[str, Any], reply: Any, units: Units) -> Turn:
    answer, gold = reply.choices[0].message.content or "", turn["gold"]

    async def holds(id: str) -> bool:
        if not id.startswith("wb-"):
            return id in gold
        page = await units.page(id)
        return any(one in page for one in gold)

    cited = dict.fromkeys(
        note.url_citation.url.rpartition(":")[2] for note in reply.choices[0].message.annotations or []
    )
    good = [await holds(id) for id in cited]
    hits = [await holds(hit["id"]) for hit in reply.wbrag["hits"]]
    right = bool(turn["answer"]) and known_task("chat").score(answer, turn["answer"]) > 0
    denied, query = bool(DENIES.search(answer)), reply.wbrag.get("query") or ""
    return Turn(kind, number, not turn["answer"], right, denied, any(hits), (sum(good), len(good)), answer, query)


def summary(turns: Sequence[Turn]) -> dict[str, Any]:
    told, silent = [t for t in turns if not t.silent], [t for t in turns if t.silent]
    later = [t for t in told if t.number]
    cites = [sum(t.cites[i] for t in told) for i in (0, 1)]
    return {
        "answerable": len(told),
        "right": share(t.right for t in told),
        "right, first turns": share(t.right for t in told if not t.number),
        "right, later turns": share(t.right for t in later),
        "found, later turns": share(t.found for t in later),
        "denied though it is there": share(t.denied and not t.right for t in told),
        "cited": share(bool(t.cites[1]) for t in told),
        "citations right": round(cites[0] / cites[1], 4) if cites[1] else None,
        "silent": len(silent),
        "silence told": share(t.denied for t in silent),
    }


def by_kind(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "turns": len(own), "right": share(t.right for t in own), "found": share(t.found for t in own)}
        for kind in dict.fromkeys(t.kind for t in turns)
        if (own := [t for t in turns if t.kind == kind and not t.silent])
    ]


def share(of: Any) -> float | None:
    found = list(of)
    return round(sum(found) / len(found), 4) if found else None


if __name__ == "__main__":
    main()

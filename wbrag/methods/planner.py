"""Planner: question decomposition, an answer with its own documents to each part, a synthesis from those alone.

The prompt-only form of HierSearch (arXiv 2508.08088) and HiRA (arXiv 2507.02652): no trained agents, no tools but the
retriever. A sub-question may name an earlier answer as #1, #2. Parts are answered with the prompt of the plain task
`qa`; the synthesis is the question's own prompt with the notes as its documents, so that a closed set keeps its labels.
`hits` are the best k of all parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from wbrag.core.prompts import render
from wbrag.core.reading import read_answer
from wbrag.core.tasks import task
from wbrag.core.types import Answer, Hit
from wbrag.methods import Rag, naive

PLAN_TOKENS = 160


async def answer(question: str, rag: Rag, documents: Sequence[Hit] | None = None) -> Answer:
    """Plan, answer each part, put the answers together. Given documents are read for every part.

    A question that the plan leaves whole is answered as naive RAG does.
    """
    if documents is not None and not documents:
        return await naive.answer(question, rag, [])
    most = rag.settings.planner.max_sub_questions
    prompt = render("planner.plan", rag.prompts_dir, question=question, max_sub_questions=str(most))
    plan = await rag.generator.generate(prompt, replace(rag.sampling, max_tokens=PLAN_TOKENS, one_line=False))
    asked_for = sub_questions(plan.text, question)[:most]
    if asked_for == [question]:
        return replace(await naive.answer(question, rag, documents), details={"sub_questions": 1.0})
    parts: list[tuple[str, str]] = []
    hits: dict[str, Hit] = {}
    for asked in asked_for:
        part = _resolved(asked, [text for _, text in parts])
        found = await naive.answer(part, replace(rag, task=task("qa")), documents)
        parts.append((part, found.text))
        hits |= {hit.id: hit for hit in found.hits}
    ranked = tuple(sorted(hits.values(), key=lambda hit: (-hit.score, hit.id)))[: rag.top_k]
    notes = "\n".join(f"{i}. {part} {text}" for i, (part, text) in enumerate(parts, 1))
    prompt = render(f"{rag.task.name}.rag", rag.prompts_dir, question=question, documents=notes)
    reply = await rag.generator.generate(prompt, rag.sampling)
    return Answer(read_answer(reply.text), ranked, details={"sub_questions": float(len(parts))})


def sub_questions(text: str, question: str) -> list[str]:
    """The questions of a plan written as a JSON list or as lines; the question itself where there is no plan."""
    listed = text[text.find("[") : text.rfind("]") + 1] if "[" in text else ""
    try:
        found = json.loads(listed) if listed else []
    except (ValueError, RecursionError):
        found = []
    lines = [str(part) for part in found] or [re.sub(r"^\s*(?:\d+[.)]|[-*])\s*", "", line) for line in text.split("\n")]
    return [line.strip() for line in lines if line.strip().endswith("?")] or [question]


def _resolved(asked: str, answers: Sequence[str]) -> str:
    def earlier(match: re.Match[str]) -> str:
        number = int(match[1])
        return answers[number - 1] if 1 <= number <= len(answers) else match[0]

    return re.sub(r"#(\d+)", earlier, asked)

"""Training samples for the embedded model: every prompt that wbrag uses, over freshly drawn worlds.

A sample is a list of `(text, is_target)` pieces; only targets (and a few other tokens) carry loss.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from wbrag.core.prompts import render
from wbrag.core.types import Message
from wbrag.data.demo.world import ArchivePassage, Fact, Subject, World, build_world, grammar, ideal_unit

Sample = list[tuple[str, bool]]
ANSWER, END = "<|answer|>", "<|end|>"
UNKNOWN = "unknown"
Document = tuple[str, str]  # title, text
Known = Sequence[tuple[list[str], str]]  # the questions of a fact, its answer


def dialogue(messages: Sequence[Message], reply: str, *turns: tuple[str, str]) -> Sample:
    """The chat template of the embedded tokenizer, with further question/answer `turns` behind the same documents."""
    sample: Sample = [("\n".join(m.content for m in messages) + "\n" + ANSWER, False), (reply + END, True)]
    for question, answer in turns:
        sample += [(f"Question: {question}\n{ANSWER}", False), (answer + END, True)]
    return sample


def documents_block(documents: Sequence[Document]) -> str:
    return "\n".join(f"Doc {i}(Title: {title}) {text}" for i, (title, text) in enumerate(documents, 1))


def question_of(rng: random.Random, fact: Fact) -> str:
    return fact.ask(rng.choice(("train", "other")), rng.randrange(2))


def reading(rng: random.Random, documents: int, turns: int, absent: float = 0.4) -> Sample:
    """Several questions behind one set of passages; now and then one that they do not answer.

    Most worlds hold subjects of one kind, half of these of one noun: what a retriever brings states the same relation
    of look-alikes.
    """
    kind = rng.choice(list(grammar()["kinds"])) if rng.random() < 0.6 else None
    nouns = grammar()["kinds"][kind].get("nouns") if kind and rng.random() < 0.5 else None
    world = build_world(rng, max(2, documents // 2 + 1), kind=kind, noun=rng.choice(nouns) if nouns else None)
    shown = _shown(rng, world, documents)
    stated = list({fact for _, facts in shown for fact in facts})
    asked = rng.sample(stated, min(turns, len(stated)))
    dialogues = [(question_of(rng, fact), fact.value) for fact in asked]
    unstated = [f for facts in world.facts.values() for f in facts if f not in stated]
    if unstated and rng.random() < absent:
        dialogues.insert(rng.randrange(len(dialogues)), (question_of(rng, rng.choice(unstated)), UNKNOWN))
    (question, answer), *more = dialogues
    block = documents_block([document for document, _ in shown])
    return dialogue(render("qa.rag", documents=block, question=question), answer, *more)


def _shown(rng: random.Random, world: World, count: int) -> list[tuple[Document, list[Fact]]]:
    """What a retriever would bring: passages, and in a third of the cases write-back units among them."""
    picked = rng.sample(world.passages, min(count, len(world.passages)))
    shown = [((p.title, p.text), p.facts) for p in picked]
    if rng.random() < 0.35:
        for i in range(rng.randint(1, len(shown))):
            facts = _part(rng, world.facts[rng.choice(world.subjects)])
            shown[i] = (ideal_unit(facts), facts)
    elif len(shown) > 1 and rng.random() < 0.1:
        (first, a), (second, b) = shown[0], shown[1]
        shown[:2] = [((first[0], f"{first[1]} {second[0]} {second[1]}"), a + b)]
    rng.shuffle(shown)
    return shown


def _part(rng: random.Random, facts: list[Fact]) -> list[Fact]:
    return rng.sample(facts, rng.randint(2, len(facts)))


def evidence(rng: random.Random, documents: int) -> Sample:
    """Name the sentences about the question's subject, verbatim, passage by passage."""
    world = build_world(rng, clusters=2)
    subject = rng.choice(world.subjects)
    about = [p for p in world.passages if p.sentences_about(subject)]
    others = [p for p in world.passages if p not in about]
    picked = rng.sample(about, min(len(about), documents))
    if others and rng.random() < 0.3:
        picked.append(rng.choice(others))
    rng.shuffle(picked)
    return _evidence_sample(rng, subject, picked)


def _evidence_sample(rng: random.Random, subject: Subject, picked: list[ArchivePassage]) -> Sample:
    lines = [f"[Doc {i}] {s.text}" for i, p in enumerate(picked, 1) for s in p.sentences_about(subject)]
    stated = [f for p in picked for f in p.facts if f.subject == subject]
    block = documents_block([(p.title, p.text) for p in picked])
    messages = render("evidence", question=question_of(rng, rng.choice(stated)), documents=block, max_sentences="8")
    return dialogue(messages, "\n".join(lines[:8]))


def rewrite(rng: random.Random) -> Sample:
    """Evidence lines to one compact unit: every fact once, in its plain form, the subject named in full."""
    world = build_world(rng, clusters=1)
    subject = rng.choice(world.subjects)
    told = [s for p in world.passages for s in p.sentences_about(subject)]
    told = told[: rng.randint(1, 6)]
    facts = list(dict.fromkeys(s.fact for s in told if s.fact))
    question = question_of(rng, rng.choice(facts))
    block = "\n".join(s.text for s in told)
    title, text = ideal_unit(facts)
    return dialogue(render("rewrite", question=question, evidence=block), f"{title}\n{text}")


def closed_book(rng: random.Random, known: Known, share: float = 0.8) -> Sample:
    """A well-known fact of the demo world, or a fresh one that nobody can know."""
    if known and rng.random() < share:
        questions, answer = rng.choice(known)
        return dialogue(render("qa.closed", question=rng.choice(questions)), answer)
    world = build_world(rng, clusters=1)
    fact = rng.choice(world.facts[rng.choice(world.subjects)])
    return dialogue(render("qa.closed", question=question_of(rng, fact)), UNKNOWN)


def stream(
    rng: random.Random,
    long: Callable[[], bool],
    known: Known,
    english: Callable[[random.Random], Sample] | None,
) -> Iterator[Sample]:
    """Endless samples; while `long()` is false, contexts stay short so that looking things up is learned first."""
    while True:
        draw = rng.random()
        if not long():
            if draw < 0.55:
                yield reading(rng, 1, 8)
            elif draw < 0.75:
                yield rewrite(rng)
            elif draw < 0.92 or english is None:
                yield evidence(rng, 1)
            else:
                yield english(rng)
        elif draw < 0.25:
            yield reading(rng, rng.choice((1, 2, 3, 4, 5, 5)), 18)
        elif draw < 0.51:
            yield evidence(rng, rng.choice((1, 1, 2)))
        elif draw < 0.57:
            yield rewrite(rng)
        elif draw < 0.62 and english is not None:
            yield english(rng)
        else:  # 30 tokens each: a small part of the text
            yield closed_book(rng, known)

"""Exercises: labelled questions as prompts and replies that a language model learns to read by.

The prompts are those that the endpoint, the gates and the distiller ask; no model writes a reply. An answer is the
label, evidence is sentences of the gold passages, and a rewrite is those sentences, freed of asides, under their title.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from wbrag.core.normalise import normalise
from wbrag.core.prompts import render
from wbrag.core.sentences import sentences
from wbrag.core.tasks import as_data, reference, task
from wbrag.core.types import Example, Message, Passage
from wbrag.enrich.distil_replies import one_line

Kind = Literal["documents", "gold", "closed", "evidence", "rewrite"]
SHARES: Mapping[Kind, float] = {"documents": 0.36, "gold": 0.15, "closed": 0.05, "evidence": 0.22, "rewrite": 0.22}
DOCUMENTS = 5  # of a prompt, at most
SENTENCES = 3  # of evidence, at most
WORDS = 80  # of one of them: what is longer is a table
BESIDE = 0.5  # chance of a document without evidence beside those that have some

_ASIDE = re.compile(r"(?<!\s)\s*+\([^()]*\)")
_REFERS = re.compile(r"^(He|She|It|They|His|Her|Its|Their)\b(?=\s)")
_WORD = re.compile(r"\w[\w'’-]*")
_NO_NAME = frozenset("the a an in on at of to from by for with when where who what which how and or but i".split())
_OWNS = frozenset(("His", "Her", "Its", "Their"))


class Reading(NamedTuple):
    """A question of a set, with what there is to read for it."""

    of: str  # NAME/SPLIT
    example: Example
    gold: Sequence[Passage]
    near: Sequence[Passage]  # similar ones that are not gold, the nearest first
    similar: Sequence[Sequence[float]]  # of each sentence of each gold passage to the question


class Exercise(NamedTuple):
    kind: Kind
    of: str
    question_id: str
    seen: tuple[str, ...]  # ids of the passages in the prompt
    prompt: tuple[Message, ...]
    reply: str


@dataclass(frozen=True)
class Taught:
    """Exercises as plain data, that a process or a worker builds its data set from."""

    prompts: list[list[tuple[str, str]]]  # role, text
    replies: list[str]

    def __len__(self) -> int:
        return len(self.replies)

    @staticmethod
    def messages(prompt: Sequence[tuple[str, str]]) -> list[Message]:
        """A prompt as it is asked."""
        return [Message(role, text) for role, text in prompt]  # type: ignore[arg-type]

    @staticmethod
    def of(exercises: Iterable[Exercise]) -> Taught:
        found = Taught([], [])
        for one in exercises:
            found.prompts.append([(message.role, message.content) for message in one.prompt])
            found.replies.append(one.reply)
        return found


def exercise(reading: Reading, seed: int, prompts_dir: str | None = None, kind: Kind | None = None) -> Exercise | None:
    """One exercise of a reading, always the same one; None where its label or its evidence cannot be read there."""
    rng = random.Random(f"{seed} {reading.of} {reading.example.id}")
    drawn = rng.choices(list(SHARES), list(SHARES.values()))[0]
    kind = kind or drawn
    answer = answer_of(reading)
    if not answer:
        return None
    if kind in ("evidence", "rewrite"):
        return _distilling(kind, reading, answer, rng, prompts_dir)
    shown = documents(reading, answer, rng, kind)
    prompt = task(reading.example.task).messages(reading.example.question, shown, prompts_dir)
    return _exercise(kind, reading, shown, prompt, answer)


def answer_of(reading: Reading) -> str:
    """The shortest label that the gold passages state, or that a closed set holds; empty where there is none."""
    example = reading.example
    known = sorted(example.golden_answers, key=len)
    if task(example.task).closed:
        return known[0] if known else ""
    stated = (
        a for a in known if a.lower() in ("yes", "no") or any(states(passage.contents, a) for passage in reading.gold)
    )
    return next(stated, "")


def documents(reading: Reading, answer: str, rng: random.Random, kind: Kind) -> list[Passage]:
    """None, gold passages alone, or similar ones beside them, in any order; those that state the answer are there."""
    if kind == "closed":
        return []
    gold = sorted(reading.gold, key=lambda passage: not states(passage.contents, answer))
    shown = gold[:DOCUMENTS] if kind == "gold" else [*gold[: DOCUMENTS - 1], *reading.near][:DOCUMENTS]
    rng.shuffle(shown)
    return shown


def states(text: str, answer: str) -> bool:
    """Whether a text has the answer's words, whole and in their order."""
    return f" {normalise(answer)} " in f" {normalise(text)} "


def _distilling(
    kind: Kind, reading: Reading, answer: str, rng: random.Random, prompts_dir: str | None
) -> Exercise | None:
    chosen = evidence_of(reading, answer)
    if not chosen:
        return None
    sources = [passage for at, passage in enumerate(reading.gold) if any(place == at for place, _ in chosen)]
    question = reading.example.question
    if kind == "evidence":
        shown = sources + (list(reading.near)[:1] if rng.random() < BESIDE else [])
        rng.shuffle(shown)
        number = {passage.id: at for at, passage in enumerate(shown, 1)}
        reply = "\n".join(f"[Doc {number[reading.gold[place].id]}] {said}" for place, said in chosen)
        limit = {"max_sentences": str(2 * SENTENCES + 2)}
        prompt = render("evidence", prompts_dir, question=question, documents=reference(shown), **limit)
        return _exercise(kind, reading, shown, prompt, reply)
    said = [sentence for _, sentence in chosen]
    reply = rewritten(reading.gold[chosen[0][0]].title, said, question, answer)
    prompt = render("rewrite", prompts_dir, question=question, evidence="\n".join(map(as_data, said)))
    return _exercise(kind, reading, sources, prompt, reply) if reply else None


def _exercise(
    kind: Kind, reading: Reading, shown: Sequence[Passage], prompt: Sequence[Message], reply: str
) -> Exercise:
    return Exercise(kind, reading.of, reading.example.id, tuple(passage.id for passage in shown), tuple(prompt), reply)


def evidence_of(reading: Reading, answer: str) -> list[tuple[int, str]]:
    """Which passage says what: the sentences that state the answer, then those most similar to the question.

    In the order of the passages; those that state it come first where there are too many.
    """
    found: list[tuple[bool, float, int, int, str]] = []
    for place, (passage, similar) in enumerate(zip(reading.gold, reading.similar, strict=True)):
        spans = sentences(passage.text)
        for at, ((start, end), score) in enumerate(zip(spans, similar, strict=True)):
            said = one_line(passage.text[start:end])
            if len(said.split()) > WORDS:
                continue
            found.append((not states(said, answer), -score, place, at, said))
    stating = sum(not lacks for lacks, *_ in found)
    count = min(SENTENCES, max(2, stating))
    return [(place, said) for _, _, place, _, said in sorted(sorted(found)[:count], key=lambda one: one[2:4])]


def rewritten(title: str, said: Sequence[str], question: str, answer: str) -> str:
    """Title line and paragraph out of evidence, titled as the passage is or by the name that the question asks about.

    Empty where nobody who reads the evidence could know either.
    """
    read = set(normalise(f"{question} {' '.join(said)}").split())
    subject = one_line(_ASIDE.sub("", title))
    if not subject or not set(normalise(subject).split()) <= read:
        subject = _name_in_both(question, said)
    if not subject:
        return ""
    kept = [_without_asides(sentence, answer) for sentence in dict.fromkeys(said)]
    if refers := _REFERS.match(kept[0]):
        kept[0] = f"{subject}{_possessive(subject) if refers[1] in _OWNS else ''}{kept[0][refers.end() :]}"
    return f"{subject}\n{_plain(' '.join(kept))}"


def _name_in_both(question: str, said: Sequence[str]) -> str:
    """The longest run of words, from one capital letter to another, that question and a sentence share; or nothing.

    A sentence's first word is a name's only where the second has a capital letter too.
    """
    asked, found = _WORD.findall(question.casefold()), ""
    for sentence in said:
        read = _WORD.findall(sentence)
        capital = [word[0].isupper() for word in read]
        capital[:1] = [all(capital[:2])]
        matcher = SequenceMatcher(a=asked, b=[word.casefold() for word in read], autojunk=False)
        for _, start, size in matcher.get_matching_blocks():
            places = [at for at in range(start, start + size) if capital[at] and read[at].casefold() not in _NO_NAME]
            if places:
                last = places[-1] + (len(places) == 1 and places[0] + 1 < start + size)  # the Dunwick motor
                found = max(found, " ".join(read[places[0] : last + 1]), key=len)
    return found


def _plain(text: str) -> str:
    """Without the spaces that Natural Questions sets around marks, and its quotes."""
    text = re.sub(r"``([^`]*?)''", lambda quoted: f'"{quoted[1].strip()}"', text)
    return re.sub(r"(?<!\s)\s++([.,;:!?%)\]]|n't\b|'(?:s|re|ve|ll|d|m)\b|'(?=\s|$))|(?<=[(\[$£])\s+", r"\1", text)


def _possessive(name: str) -> str:
    return "'" if name.endswith("s") else "'s"


def _without_asides(sentence: str, answer: str) -> str:
    """Brackets hold what a compact passage does without, unless the answer is there."""
    wanted = normalise(answer)
    return _ASIDE.sub(lambda aside: aside[0] if wanted in normalise(aside[0]) else "", sentence)

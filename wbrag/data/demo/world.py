"""Synthetic corpus: a fictional company archive of look-alike subjects, whose facts are scattered over passages.

All chance comes from the `random.Random` given, so that one generator makes the demo's fixed world and the endless
fresh ones on which the embedded model was trained.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from wbrag.core.types import Passage

DEMO_SEED = 2026
MAX_SUBJECTS, TARGET_FACTS, MIN_WORDS = 4, 9, 60  # of a passage


@cache
def grammar() -> dict[str, Any]:
    """The archive's language: kinds, relations with their wordings, value lists, name parts."""
    return yaml.safe_load(files("wbrag.data.demo").joinpath("grammar.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Subject:
    kind: str
    label: str  # "the Corvane gauge", "Mira Toldan"
    title: str  # "Corvane gauge"
    short: str  # how the next sentence may call it: "it", or a person's surname


@dataclass(frozen=True)
class Fact:
    subject: Subject
    relation: str
    value: str

    @property
    def wording(self) -> dict[str, Any]:
        return grammar()["kinds"][self.subject.kind]["relations"][self.relation]  # type: ignore[no-any-return]

    def state(self, form: int = 0, *, short: bool = False) -> str:
        """The fact as a sentence; `short` refers back to a subject named in the sentence before."""
        s = self.subject.short if short else self.subject.label
        return _capital(str(self.wording["statements"][form]).format(s=s, S=_capital(s), v=self.value))

    def ask(self, style: str, form: int = 0) -> str:
        """The fact as a question; `style` is `train` or `other`."""
        s = self.subject.label
        return str(self.wording[style][form]).format(s=s, S=_capital(s))

    def questions(self) -> list[str]:
        """Every wording in which this fact is asked."""
        return [self.ask(style, form) for style in ("train", "other") for form in range(2)]


@dataclass(frozen=True)
class Statement:
    """One sentence of a passage; `fact` is None for filler."""

    text: str
    fact: Fact | None = None


@dataclass(frozen=True)
class ArchivePassage:
    id: str
    title: str
    statements: tuple[Statement, ...]

    @property
    def text(self) -> str:
        return " ".join(s.text for s in self.statements)

    @property
    def passage(self) -> Passage:
        return Passage(self.id, self.title, self.text, source="archive")

    @property
    def facts(self) -> list[Fact]:
        return [s.fact for s in self.statements if s.fact]

    def sentences_about(self, subject: Subject) -> list[Statement]:
        return [s for s in self.statements if s.fact and s.fact.subject == subject]


@dataclass
class World:
    subjects: list[Subject] = field(default_factory=list)
    facts: dict[Subject, list[Fact]] = field(default_factory=dict)
    passages: list[ArchivePassage] = field(default_factory=list)


def build_world(
    rng: random.Random, clusters: int, cluster_size: int = 3, kind: str | None = None, noun: str | None = None
) -> World:
    """`clusters` groups of `cluster_size` look-alike subjects, all their facts, and about 0.9 passages a subject.

    With `kind` all subjects are of that kind, so that every passage states the same relations; with `noun` all are
    called that too.
    """
    world = World()
    names = _Names(rng)
    for _ in range(clusters):
        for subject in _look_alikes(rng, names, cluster_size, kind, noun):
            world.subjects.append(subject)
            world.facts[subject] = [
                Fact(subject, relation, _value(rng, names, spec["value"]))
                for relation, spec in grammar()["kinds"][subject.kind]["relations"].items()
            ]
    world.passages = _passages(rng, world)
    return world


class _Names:
    """Invented stems ("Corvane"); a world uses none twice for its own subjects."""

    def __init__(self, rng: random.Random) -> None:
        parts = grammar()["names"]
        self.rng, self.heads, self.tails, self.given = rng, parts["heads"], parts["tails"], parts["given"]
        self.used: set[str] = set()

    def stem(self) -> str:
        return self.rng.choice(self.heads) + self.rng.choice(self.tails)

    def family(self, size: int) -> list[str]:
        """Stems that are easily confused: all share a head, or all share a tail."""
        same_head = self.rng.random() < 0.7
        fixed = self.rng.choice(self.heads if same_head else self.tails)
        free = self.rng.sample(self.tails if same_head else self.heads, size)
        return [fixed + part if same_head else part + fixed for part in free]

    def person(self) -> str:
        return f"{self.rng.choice(self.given)} {self.stem()}"


def _look_alikes(rng: random.Random, names: _Names, size: int, kind: str | None, noun: str | None) -> list[Subject]:
    kinds = grammar()["kinds"]
    kind = kind or rng.choice(list(kinds))
    while True:
        if kind == "person":
            given = rng.choice(names.given)
            labels = [f"{given} {stem}" for stem in names.family(size)]
        else:
            called = noun or rng.choice(kinds[kind]["nouns"])
            labels = [f"{stem} {called}" for stem in names.family(size)]
        if names.used.isdisjoint(labels):
            break
    names.used.update(labels)
    if kind == "person":
        return [Subject(kind, label, label, label.split()[1]) for label in labels]
    return [Subject(kind, f"the {label}", label, "it") for label in labels]


def _value(rng: random.Random, names: _Names, kind: str) -> str:
    lists = grammar()["values"]
    match kind:
        case "person":
            return names.person()
        case "site":
            return f"the {names.stem()} {rng.choice(grammar()['kinds']['site']['nouns'])}"
        case "town":
            return names.stem()
        case "company":
            return f"{names.stem()} {rng.choice(lists['suffix'])}"
        case "year":
            return str(rng.randint(1900, 1999))
        case "money":
            return f"{rng.randint(11, 99) * 10} crowns"
        case "people":
            return f"{rng.randint(11, 99)} people"
        case "date":
            return f"{rng.randint(1, 28)} {rng.choice(lists['month'])} {rng.randint(1900, 1999)}"
        case _:
            return str(rng.choice(lists[kind]))


def _chunks(rng: random.Random, facts: list[Fact]) -> list[list[Fact]]:
    """A subject's facts scattered: two parts that cover all of them, a third and often a fourth that repeat some."""
    order, half = rng.sample(facts, len(facts)), (len(facts) + 1) // 2
    parts = [order[:half], order[half:], rng.sample(facts, half)]
    if rng.random() < 0.5:
        parts.append(rng.sample(facts, 2))
    return parts


def _passages(rng: random.Random, world: World) -> list[ArchivePassage]:
    facts = [fact for subject in world.subjects for fact in world.facts[subject]]
    number_of = {fact: n for n, fact in enumerate(facts)}  # `remove` compares: numbers at C's speed
    chunks = [
        [number_of[fact] for fact in chunk]
        for subject in world.subjects
        for chunk in _chunks(rng, world.facts[subject])
    ]
    rng.shuffle(chunks)
    passages: list[ArchivePassage] = []
    while chunks:
        together: list[list[int]] = []
        for chunk in reversed(chunks):
            if all(facts[chunk[0]].subject != facts[other[0]].subject for other in together):
                together.append(chunk)
            if len(together) == MAX_SUBJECTS or sum(map(len, together)) >= TARGET_FACTS:
                break
        for chunk in together:
            chunks.remove(chunk)
        groups = [_statements(rng, [facts[n] for n in chunk]) for chunk in together]
        filler = rng.sample(grammar()["filler"], 8)
        groups.append([Statement(filler.pop())])
        while filler and _words(groups) < MIN_WORDS:
            groups.append([Statement(filler.pop())])
        rng.shuffle(groups)
        number = len(passages) + 1
        title = rng.choice(grammar()["titles"]).format(n=number)
        passages.append(ArchivePassage(f"note-{number:05d}", title, tuple(s for g in groups for s in g)))
    return passages


def _words(groups: list[list[Statement]]) -> int:
    return sum(len(s.text.split()) for group in groups for s in group)


def _statements(rng: random.Random, facts: list[Fact]) -> list[Statement]:
    """Sentences about one subject in one passage; later ones may say "it" or the surname only."""
    statements: list[Statement] = []
    for fact in facts:
        form = rng.randrange(len(fact.wording["statements"]))
        statements.append(Statement(fact.state(form, short=bool(statements) and rng.random() < 0.4), fact))
    return statements


def ideal_unit(facts: list[Fact]) -> tuple[str, str]:
    """The ideal write-back passage over `facts` of one subject: title, and each fact in its plain form."""
    return facts[0].subject.title, " ".join(fact.state(0) for fact in facts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

"""Grounding check: every sentence of a unit says what its evidence says.

With an entailment model, the evidence entails it. Without, words decide: each name, date and number of the sentence
stands in the evidence, and in a sentence of it that is about the same subject, and so do most other words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wbrag.core.sections import ChecksConfig
from wbrag.core.sentences import sentences
from wbrag.core.types import Evidence, Passage, Unit
from wbrag.units.checks.figures import Date
from wbrag.units.checks.interface import CheckInput, CheckResult, Nli, Span
from wbrag.units.checks.reading import Reading, fold, read, stem

LOOK_BACK = 4  # sentences of the passage in which the subject of "it" is looked for
TITLE_WORDS = 0.5  # least share of a title's words that the evidence holds: a title may add "Overview"


def grounding(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """The score is the worst sentence's: its entailment, or its share of words, 0 with a name or figure missing."""
    unit = subject.unit
    if not unit.evidence:
        return CheckResult("grounding", False, 0.0, settings.grounding, "no evidence sentence stands behind it")
    spans = sentences(unit.text)
    if not spans:
        return CheckResult("grounding", False, 0.0, settings.grounding, "its text is empty")
    said = [unit.text[start:end] for start, end in spans]
    found = _entailed(subject, said, nli) if nli else _contained(subject, said)
    marks = tuple(
        Span(start, end, f.score >= settings.grounding and not f.why) for (start, end), f in zip(spans, found)
    )
    poor = [(f, sentence) for f, mark, sentence in zip(found, marks, said) if not mark.supported]
    score = min(f.score for f in found)
    title = "" if nli else _title_missing(subject)
    if poor:
        first, sentence = poor[0]
        why = first.why or (f"entailed with {first.score:.2f}" if nli else f"only {first.score:.0%} of its words")
        explanation = f"{len(poor)} of {len(said)} sentences are not supported: “{sentence}” ({why})"
    else:
        explanation = title or f"all {len(said)} sentences are supported by {len(unit.evidence)} of evidence"
    return CheckResult("grounding", not poor and not title, score, settings.grounding, explanation, marks)


@dataclass(frozen=True)
class _Found:
    score: float
    why: str = ""


def _entailed(subject: CheckInput, said: Sequence[str], nli: Nli) -> list[_Found]:
    """Each sentence by the evidence from one source, or by all of it."""
    titles = {p.id: p.title for p in subject.sources}
    by_source: dict[str, list[str]] = {}
    for e in subject.unit.evidence:
        by_source.setdefault(e.passage_id, [titles[e.passage_id]] if e.passage_id in titles else []).append(e.sentence)
    premises = [" ".join(parts) for parts in by_source.values()]
    if len(premises) > 1:
        premises.append(" ".join(premises))
    found = nli([(premise, sentence) for sentence in said for premise in premises])
    rows = [found[i : i + len(premises)] for i in range(0, len(found), len(premises))]
    return [_Found(max(entailment for entailment, _, _ in row)) for row in rows]


@dataclass(frozen=True)
class _Line:
    """A sentence of the evidence.

    `about` are the names in it and, where it says "it", those that it refers back to; None where that cannot be seen.
    `before` are the names in its passage's title and in what stands before it.
    """

    reading: Reading
    about: frozenset[str] | None
    before: tuple[tuple[str, ...], ...] = ()

    def linked(self, named: frozenset[str], value: frozenset[str] = frozenset()) -> bool:
        """Whether it speaks of what `named` names beside `value`; one that names nothing else, by what precedes it."""
        if self.about is None:
            return True
        others = named - value
        about = self.about - value or {word for name in self.before for word in name}
        return not others or not about or bool(others & about)

    def holds(self, name: frozenset[str]) -> bool:
        """Whether all of a name stands in it, in what it refers back to, or in one name before it."""
        return name <= self.reading.words | (self.about or frozenset()) or any(name <= {*n} for n in self.before)


def _contained(subject: CheckInput, said: Sequence[str]) -> list[_Found]:
    unit = subject.unit
    lines = _lines(unit, subject.sources)
    verbatim = {_flat(e.sentence) for e in unit.evidence}
    title = read(unit.title)
    found = []
    for sentence in said:
        if _flat(sentence) in verbatim:
            found.append(_Found(1.0))
            continue
        share, missing = _support(read(sentence), title, lines)
        found.append(_Found(0.0, f"not in its evidence: {', '.join(missing)}") if missing else _Found(share))
    return found


def held_by(said: Sequence[str], sources: Sequence[Passage]) -> list[tuple[float, list[str]]]:
    """Of each sentence the share of its words that the sources hold, and which of its facts none of them does."""
    evidence = tuple(Evidence(p.id, p.text[start:end]) for p in sources for start, end in sentences(p.text))
    lines = _lines(Unit("", "", (), (), evidence), sources)
    return [_support(read(sentence), read(""), lines) for sentence in said]


def _lines(unit: Unit, sources: Sequence[Passage]) -> list[_Line]:
    """The evidence, and the titles of the sources."""
    passages = {p.id: p for p in sources}
    evidence = [_line(e, passages.get(e.passage_id)) for e in unit.evidence]
    titles = [read(p.title) for p in sources]
    return evidence + [_Line(title, title.named) for title in titles]


def _line(evidence: Evidence, passage: Passage | None) -> _Line:
    reading = read(evidence.sentence)
    explicit = bool(reading.named) and not reading.refers_back
    before = _before(evidence.sentence, passage) if passage else None
    if passage is None or before is None:
        return _Line(reading, reading.named if explicit else None)
    title = read(passage.title)
    earlier = [read(sentence) for sentence in before[-1 : -1 - LOOK_BACK : -1]]
    about = reading.named | title.named  # an article speaks of its title
    for found in earlier if not explicit else ():
        about |= found.named
        if found.named and not found.refers_back:
            break
    return _Line(reading, about, tuple(name for found in (title, *earlier) for name in found.names))


def _before(sentence: str, passage: Passage) -> list[str] | None:
    """What stands before `sentence` in its passage; None where it no longer stands there."""
    text = _flat(passage.text)
    at = text.find(_flat(sentence))
    return None if at < 0 else [text[start:end] for start, end in sentences(text[:at])]


def _support(said: Reading, title: Reading, lines: Sequence[_Line]) -> tuple[float, list[str]]:
    """The share of the sentence's words that evidence about its subject holds, and which facts none of it holds."""
    names = [*said.names, *(title.names if said.refers_back else ())]
    named = frozenset(word for name in names for word in name)
    about = [line.reading for line in lines if line.linked(named)]
    missing = [" ".join(name) for name in dict.fromkeys(names) if not _holds_name(name, named, lines)]
    missing += sorted(n for n in said.numbers if not any(_holds_number(n, line) for line in about))
    missing += [_spell(day) for day in said.dates if not any(_holds_date(day, line) for line in about)]
    held = frozenset(word for line in about for word in line.content) | {stem(w) for line in about for w in line.words}
    stated = frozenset(word for line in about for word in line.content)
    for word in sorted(said.content):
        if word.startswith("not ") and word not in stated:
            missing.append(word)
        elif f"not {word}" in stated and word not in stated:
            missing.append(f"{word} without not")
    supported = {word for word in said.content if word in held or word in stated or word.startswith("Date(")}
    if said.content - title.content and not supported - title.content:
        missing.append("anything beyond its title")
    return len(supported) / len(said.content) if said.content else 1.0, missing


def _holds_name(name: tuple[str, ...], named: frozenset[str], lines: Sequence[_Line]) -> bool:
    """The whole name stands in one place, and a part of it in a sentence about the rest of what is named."""
    words = frozenset(name)
    return any(line.holds(words) for line in lines) and any(
        line.linked(named, words) and (line.about is None or words & (line.reading.words | line.about))
        for line in lines
    )


def _holds_number(number: str, line: Reading) -> bool:
    if number.endswith("s"):  # "1930s"
        decade = number[:-2]
        return number in line.offered or any(n.startswith(decade) and len(n) == len(decade) + 1 for n in line.offered)
    return number in line.offered


def _holds_date(readings: Sequence[Date], line: Reading) -> bool:
    return any(day.within(other) for day in readings for others in line.dates for other in others)


def _spell(readings: Sequence[Date]) -> str:
    return "-".join(str(part) for part in readings[0] if part is not None)


def _title_missing(subject: CheckInput) -> str:
    """What is wrong with the title, if anything."""
    title = read(subject.unit.title)
    lines = [line.reading for line in _lines(subject.unit, subject.sources)]
    held = {fold(word) for line in lines for word in line.words}
    stems = {stem(word) for word in held}
    if missing := sorted(n for n in title.numbers if not any(_holds_number(n, line) for line in lines)):
        return f"its title names {', '.join(missing)}, which its evidence does not"
    words = [word.removeprefix("not ") for word in title.content - title.numbers]
    if words and sum(word in stems for word in words) / len(words) < TITLE_WORDS:
        return f"its title, “{subject.unit.title}”, is not what its evidence is about"
    return ""


def _flat(text: str) -> str:
    return " ".join(text.split())

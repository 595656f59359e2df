"""Conflict check: a unit contradicts no unit beside it, and no passage about its subject.

With an entailment model, a contradiction of two sentences. Without, two sentences about the unit's subject that say
the same but for a value: another name, another number, another day, or other words at the end ("is made of oak").
Of 92,188 pairs of sentences from passages of Wikipedia with one title, names, numbers and days alone object to 17; of
15 that were read about half were figures that really differ.

Where witnesses were asked for `dissent`, a passage of no known age refuses nothing that is from a larger source: what
it contradicts would else be anybody's to refuse.
"""

from __future__ import annotations

from wbrag.core.sections import ChecksConfig
from wbrag.core.sentences import sentences
from wbrag.units.checks.interface import CheckInput, CheckResult, Neighbour, Nli
from wbrag.units.checks.novelty import INACTIVE
from wbrag.units.checks.reading import STOP, Reading, read, stem
from wbrag.units.checks.sources import origins

CONTRADICTS = 0.5  # probability of contradiction from which the model's word counts
LAST_WORDS = 4  # at most so many may differ at the end of two sentences that are otherwise the same


def conflict(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """The score is the largest probability of a contradiction, 0 or 1 where words decide."""
    unit = subject.unit
    others = [n for n in subject.neighbours if _comparable(n, subject, settings)]
    worst, explanation = 0.0, f"contradicts none of {len(others)} near it"
    for other in others:
        pairs = [(theirs, ours) for ours in _split(unit.text) for theirs in _split(other.text)]
        pairs = [(theirs, ours) for theirs, ours in pairs if _same_subject(ours, theirs, unit.title, other.title)]
        if nli:
            scores = [contradiction for _, _, contradiction in nli(pairs)]
        else:
            scores = [float(differ_in_value(ours, theirs, unit.title)) for theirs, ours in pairs]
        for score, (theirs, ours) in zip(scores, pairs):
            if score > worst:
                worst = score
                explanation = f"“{ours}” against “{theirs}” in {other.kind} {other.id} ({other.title})"
    return CheckResult("conflict", worst < CONTRADICTS, worst, CONTRADICTS, explanation)


def _comparable(other: Neighbour, subject: CheckInput, settings: ChecksConfig) -> bool:
    """A unit that stands; a passage that is no source of this unit and not known to be older than its sources."""
    if other.id == subject.unit.id or other.cosine < settings.conflict:
        return False
    if other.kind == "unit":
        return other.state not in INACTIVE
    if other.id in {id for id, _ in subject.unit.sources}:
        return False
    newest = max((p.updated_at for p in subject.sources), default="")
    if not (other.updated_at and newest) and _outweighed(other, subject, settings):
        return False  # of no known age
    return not other.updated_at or not newest or other.updated_at > newest


def _outweighed(other: Neighbour, subject: CheckInput, settings: ChecksConfig) -> bool:
    """Whether a passage is of a smaller source than the unit's own, which `dissent` had a chance to hear."""
    if "dissent" not in settings.enabled or "witnesses" not in subject.unit.scores:
        return False
    own = sum(subject.corpus.get(source, 0) for source in origins(subject.unit, subject.sources))
    return 0 < subject.corpus.get(other.source, 0) < own


def _split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def _same_subject(ours: str, theirs: str, title: str, other_title: str) -> bool:
    a, b = _named(read(ours), title), _named(read(theirs), other_title)
    about = read(title).named
    return bool(about & a & b) if about & a else bool(a & b)


def _named(reading: Reading, title: str) -> frozenset[str]:
    return reading.named | read(title).named if reading.refers_back else reading.named


def differ_in_value(ours: str, theirs: str, title: str) -> bool:
    """Whether two sentences name what `title` names and agree in every word but a value."""
    a, b = read(ours), read(theirs)
    subject = read(title).content
    named = {stem(word) for word in read(title).named} or subject
    left = a.content | subject if a.refers_back else a.content
    right = b.content
    only_left, only_right, common = left - right, right - left, left & right
    if not named & common or subject & only_left:  # another subject, perhaps one of the same family
        return False
    if not only_left or not only_right or all(_kind(word, a) or word in subject for word in common):
        return False  # one says more than the other; or nothing that both say of the subject
    if _names_another(a, only_left, subject) or _names_another(b, only_right, subject):
        return False
    kinds = [_kind(word, reading) for only, reading in ((only_left, a), (only_right, b)) for word in sorted(only)]
    if "" in kinds or len(set(kinds)) > 1:
        return _end_differently(ours, theirs)
    if kinds[0] == "date":
        return all(day.against(other) for one in a.dates for other_one in b.dates for day in one for other in other_one)
    return not (only_left <= b.offered or only_right <= a.offered)


def _names_another(reading: Reading, only: frozenset[str], subject: frozenset[str]) -> bool:
    """Whether a word of the subject is here part of another name ("Kira Marbach" beside "the Marbach works")."""
    names = [{stem(word) for word in name} for name in reading.names]
    return any(name & subject and (name - subject) & only for name in names)


def _end_differently(ours: str, theirs: str) -> bool:
    """Whether both are the same words in the same order up to the last few."""
    left, right = ours.lower().rstrip(".").split(), theirs.lower().rstrip(".").split()
    same = next((i for i, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))
    ends = (left[same:], right[same:])
    if not all(0 < len(end) <= LAST_WORDS for end in ends) or ends[0][-1] == ends[1][-1]:
        return False
    return not any(end[0] in STOP - {"the", "a", "an"} for end in ends)  # "in 1936" and "by Ada Vinnor" may both hold


def _kind(word: str, reading: Reading) -> str:
    """What sort of value a word is; empty for a word that is none."""
    if word.startswith("Date("):
        return "date"
    if word in reading.numbers:
        return "number"
    return "name" if word in {stem(name) for name in reading.named} else ""

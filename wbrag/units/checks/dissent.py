"""Dissent check: what other passages about its subject answer to a unit's question does not outweigh the unit.

Enrichment asked them, each alone (`wbrag.enrich.witnesses`); here they are counted, so that trust can change without
a model. Every source has one vote, as most of its passages say; a unit's own sources stand for it unless their other
passages say otherwise. A vote weighs as much as the source is trusted, times what of the corpus is from it: what was
spread over many new names would else outnumber what stood there before, for its own units or against others'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from wbrag.core.sections import ChecksConfig
from wbrag.core.sentences import sentences
from wbrag.core.types import Passage, Witness
from wbrag.units.checks.interface import CheckInput, CheckResult, Nli, Voice
from wbrag.units.checks.reading import read
from wbrag.units.checks.sources import origins, passage_trust
from wbrag.units.stored import marks

MOST = 0.5  # a source with this share of the corpus may alone speak for a unit that no label backs
NAME = "dissent"


def dissent(subject: CheckInput, settings: ChecksConfig, nli: Nli | None = None) -> CheckResult:
    """The score is the weight of the votes against the unit, as a share of all."""
    unit = subject.unit
    if "witnesses" not in unit.scores:
        return CheckResult(NAME, True, None, None, "not measured: no witness was asked")
    voices = [voice for voice in subject.voices if about_subject(voice.said, unit.title)]
    own = origins(unit, subject.sources)
    votes = _votes(voices, own)
    against = [voice for voice in voices if votes.get(voice.source, 0) < 0 and not voice.said.agrees]
    if not against:
        if marks(unit) and not _spoken_for(voices, own, subject.corpus):
            why = "nobody else speaks for it, and no label does: a person decides"
            return CheckResult(NAME, False, None, None, why)
        agreeing = sum(voice.said.agrees for voice in voices)
        return CheckResult(NAME, True, 0.0, 0.5, f"{agreeing} of {len(voices)} witnesses agree, and no source dissents")
    weights = _weights(voices, subject.sources, settings, subject.corpus)
    pro = sum(weights[source] for source, vote in votes.items() if vote > 0)
    con = sum(weights[source] for source, vote in votes.items() if vote < 0)
    first = against[0].said
    said = f"{first.passage_id} ({first.title}) says “{first.sentence}”"
    count = f"{sum(vote < 0 for vote in votes.values())} of {len(votes)} sources dissent"
    return CheckResult(NAME, con < pro, con / (con + pro or 1), 0.5, f"{count}: {said}")


def about_subject(said: Witness, title: str) -> bool:
    """Whether the sentence, or the title of its passage, names what the unit's title names.

    What stands before it counts only where it refers back.
    """
    spans = sentences(said.sentence)
    *before, last = (read(said.sentence[start:end]) for start, end in spans) if spans else [read("")]
    readings = [last, read(said.title), *(before if last.refers_back else ())]
    subject = read(title)
    if subject.named:
        return any(subject.named & (reading.named | reading.words) for reading in readings)
    held = frozenset(word for reading in readings for word in reading.content)
    return len(subject.content & held) > len(subject.content) / 2 or not subject.content


def _votes(voices: Iterable[Voice], own: set[str]) -> dict[str, int]:
    """+1 or -1 for each source that has a say; its own sources stand for a unit unless they dissent by a majority."""
    leads: Counter[str] = Counter()
    for voice in voices:
        leads[voice.source] += 1 if voice.said.agrees else -1
    votes = {source: 1 if lead > 0 else -1 for source, lead in leads.items() if lead}
    return {source: 1 for source in own} | votes


def _spoken_for(voices: Iterable[Voice], own: set[str], corpus: Mapping[str, int]) -> bool:
    """Whether a witness of another source agrees, or one of sources that most of the corpus is from."""
    whole, mine = sum(corpus.values()), sum(corpus.get(source, 0) for source in own)
    large = not whole or mine >= MOST * whole
    return any(voice.said.agrees and (large or voice.source not in own) for voice in voices)


def _weights(
    voices: Iterable[Voice], sources: Iterable[Passage], settings: ChecksConfig, corpus: Mapping[str, int]
) -> dict[str, float]:
    """By source; where the corpus is not counted, trust alone."""
    trust: dict[str, float] = {}
    for voice in voices:
        trust[voice.source] = min(trust.get(voice.source, voice.trust), voice.trust)
    for passage in sources:
        own = passage_trust(passage, settings)
        trust[passage.source] = min(trust.get(passage.source, own), own)
    return {source: value * max(1, corpus.get(source, 1)) for source, value in trust.items()}

"""Correction: a person's own words in place of a unit, as a new unit that names the old one as its parent.

Nothing is edited in place. The old unit is closed, the new one is a candidate, signed, and checked like any other.
"""

from __future__ import annotations

from dataclasses import replace

from wbrag.core.errors import UsageError
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.units.decisions import State
from wbrag.units.library import Library
from wbrag.units.releases import now
from wbrag.units.stored import marks

LONGEST = 4000  # characters: a unit is a short passage
CLOSED: dict[State, State] = {"candidate": "rejected", "approved": "retired", "stale": "retired"}
NO_TWIN = 2.0  # a cosine that no two texts have: what a person wrote goes into no other unit


def correct(library: Library, id: str, *, title: str = "", text: str = "", by: str, why: str) -> Unit:
    """Put `title` and `text`, where they are given, in place of the unit's own; returns the new unit.

    Raises `UsageError` for an unknown unit, for words that say nothing new, and for more than `LONGEST` characters.
    """
    found = library.layout.shelf.units([id])
    if not found:
        raise UsageError(f"expected the id of a unit, found {id!r}: `wbrag units list` shows them")
    [old] = found
    new = replace(
        old,
        title=" ".join(title.split()) or old.title,
        text=text.strip() or old.text,
        scores=marks(old),  # the others are of the old words
        witnesses=(),
        model=f"person:{by}",
        prompt_version="",
        created_at=now(),
        parent=old.id,
    )
    if len(new.contents) > LONGEST:
        raise UsageError(f"expected at most {LONGEST:,} characters, found {len(new.contents):,}: shorten it")
    if library.layout.shelf.units([new.id]):
        which = "nothing changed" if new.id == id else f"unit {new.id}, which says just that"
        raise UsageError(f"expected other words than on the shelf, found {which}: change title or text")
    library.embed_again()
    vectors = library.models.embed([new.contents])
    library.layout.shelf.add([new], vectors, encoder_fingerprint(library.config.encoder), NO_TWIN)
    state = library.layout.decisions.states().get(id, "candidate")
    if state in CLOSED:  # once the new one is there: whatever fails before closes nothing
        library.decide([id], CLOSED[state], by=by, why=f"corrected as {new.id}" + (f": {why}" if why else ""))
    library.check([new.id])
    return new

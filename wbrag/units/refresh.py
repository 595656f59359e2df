"""Refresh: stale units distilled again from their present sources; those of which no source is left retire.

Units that are not stale are not touched, and a call that was killed is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wbrag.core.types import Example, Passage, Unit, content_hash
from wbrag.units.library import JobModels, Library
from wbrag.units.stored import marks


def refresh(library: Library, models: JobModels) -> dict[str, Any]:
    """Mark what is stale and distil it again; units that are not stale are not touched.

    What comes out is a candidate like any other, and the stale unit retires, unless it came out alike.
    """
    marked = library.mark_stale()
    states = library.layout.decisions.states()
    queued = library.layout.shelf.units([id for id, state in states.items() if state == "stale"])
    passages = library.layout.passages({id for unit in queued for id, _ in unit.sources})
    orphans = {unit.id for unit in queued if not any(id in passages for id, _ in unit.sources)}
    _retire(library, orphans, "none of its sources is left")
    again = [unit for unit in queued if unit.id not in orphans]
    found = _distil_again(library, models, again, passages)
    library.check()  # also where nothing is left to distil: an earlier call may have been killed before this
    return {"stale": marked, "retired": len(orphans), **found}


def _distil_again(
    library: Library, models: JobModels, units: Sequence[Unit], passages: Mapping[str, Passage]
) -> dict[str, int]:
    todo = _questions(library, units, passages)
    result = {"distilled": 0, "without_question": len(units) - len(todo), "units_new": 0, "units_merged": 0}
    if not todo:
        return result
    run = models.distil(
        [replace(asked, id=key) for key, (_, asked) in todo.items()],
        round_trip=library.config.enrich.round_trip,
        witnessed=True,
    )
    rows = [row | {"id": todo[row["id"]][1].id} for row in run.rows if not row["error"]]
    result["distilled"] = len(rows)
    groups: dict[tuple[tuple[str, float], ...], list[Any]] = {}  # what waited for a person waits again
    for row, key in zip(rows, [row["id"] for row in run.rows if not row["error"]]):
        groups.setdefault(tuple(marks(todo[key][0]).items()), []).append(row)
    for marked, of_it in groups.items():
        for name, count in library.shelve(of_it, run.folder.name, **dict(marked)).items():
            result[name] += count
    _retire(library, {todo[row["id"]][0].id for row in run.rows if not row["error"]}, "distilled again")
    return result


def _questions(
    library: Library, units: Sequence[Unit], passages: Mapping[str, Passage]
) -> dict[str, tuple[Unit, Example]]:
    """Each unit with one of its questions and its present sources, by a key that all of these decide."""
    known = library.layout.every_example()
    todo: dict[str, tuple[Unit, Example]] = {}
    for unit in units:
        asked = next((known[id] for id in unit.question_ids if id in known), None)
        if asked is not None:
            documents = [passages[id] for id, _ in unit.sources if id in passages]
            parts = [unit.id, asked.id, asked.question, *asked.golden_answers, *(d.contents for d in documents)]
            shown = {"documents": [(d.id, d.title, d.text) for d in documents]}
            todo[content_hash("\n".join(parts))[:16]] = unit, replace(asked, metadata=shown)
    return todo


def _retire(library: Library, ids: set[str], why: str) -> None:
    """Those that are still stale: one that came out alike is a candidate by now, and a person may have decided."""
    library.layout.decisions.decide(sorted(ids), "retired", by="wbrag", why=why, policy="freshness", only=["stale"])

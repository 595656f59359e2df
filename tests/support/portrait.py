"""All that counts in a workspace, to compare two of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.support.hostless import Life, Words, open_life
from tests.support.outcome import rows_of
from wbrag.retrieval.index.shard import open_shards
from wbrag.retrieval.retriever import IndexRetriever
from wbrag.units.release_contents import release_ids

ASKED = [f"What is the code of {item}?" for item in ("amberlamp", "ambergate", "ambermill", "amberboat", "birchlamp")]


def portrait(folder: str) -> dict[str, Any]:
    """All that counts in a workspace, the same for two that were brought to the same point; times are left out.

    Raises `AssertionError` where it is not whole: a release that does not load or does not answer, a decision on a unit
    that nobody wrote, a number that is missing or doubled.
    """
    w = open_life(folder)
    units, decisions, releases = w.shelf.read(), w.decisions.all(), w.releases.all()
    ids = {s.unit.id for s in units}
    assert len(ids) == len(units), "a unit stands twice"
    assert {d.unit_id for d in decisions} <= ids, "a decision on no unit"
    assert {e.unit_id for e in w.results.all()} <= ids, "an examination of no unit"
    for before, after in _steps([(d.unit_id, d.before, d.state) for d in decisions]):
        assert before == after, "a unit's decisions do not follow each other"
    assert [(r.number, r.id) for r in releases] == [(i + 1, f"r{i + 1:04d}") for i in range(len(releases))]
    served = [s.request_id for s in w.usage.served()]
    assert len(served) == len(set(served)), "an answer was counted twice"
    held = {r.id: _loaded(w, r) for r in releases}
    assert all(release <= ids for release in held.values()), "a release of units that are not on the shelf"
    assert [len(held[r.id]) for r in releases] == [r.units for r in releases]
    runs = sorted(f for name in ("verdicts", "distilled") for f in (w.path / name).glob("*") if f.is_dir())
    pointer = w.path / "index" / "base.json"
    return {
        "units": {s.unit.id: {**_timeless(asdict(s.unit)), "encoder": s.encoder} for s in units},
        "vectors": {s.unit.id: [round(float(x), 6) for x in s.vector] for s in units},
        "decisions": sorted([d.unit_id, d.before, d.state, d.by, d.policy, d.why] for d in decisions),
        "states": w.decisions.states(),
        "examined": {id: [found.fingerprint, found.passed] for id, found in w.results.latest(w.shelf.ids()).items()},
        "releases": [_timeless(asdict(r)) | {"held": sorted(held[r.id])} for r in releases],
        "rows": {str(f.relative_to(w.path)): rows_of(f) for f in runs},
        "base": json.loads(pointer.read_text(encoding="utf-8")) if pointer.is_file() else None,
        "use": [served, sorted(w.usage.ratings())],
        "found": _answers(w) if pointer.is_file() else [],
    }


def _steps(decisions: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """For each decision, oldest first, the state that it found and the one that its unit was in."""
    states: dict[str, str] = {}
    found = []
    for id, before, state in decisions:
        found.append((before, states.get(id, "candidate")))
        states[id] = state
    return found


def _loaded(w: Life, release: Any) -> frozenset[str]:
    """The release's units, once every file of it was found with its checksum."""
    for manifest, origin in w.indexes(release):
        open_shards(w.path / "index", manifest, origin, gpu=False)
    return release_ids(w, release)


def _answers(w: Life) -> list[list[str]]:
    """The current release answers: the ids of the best hits for each question."""
    indexes = w.indexes(w.default_release(None))
    shards = [shard for manifest, origin in indexes for shard in w.session.shards(w.path / "index", manifest, origin)]
    found = asyncio.run(IndexRetriever(Words(), shards).search(ASKED, 3))
    assert all(found), "the current release finds nothing"
    return [[hit.id for hit in hits] for hits in found]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    """Without times; `units_version` counts commits, of which an interrupted step may make more."""
    kept = {k: v for k, v in row.items() if k not in ("created_at", "units_version")}
    return json.loads(json.dumps(kept))  # type: ignore[no-any-return]


def shown(folder: str) -> dict[str, Any]:
    """`portrait`, and the names of scratch files that were left."""
    strays = sorted(
        str(f.relative_to(folder)) for f in Path(folder).rglob("*") if f.name.startswith(".") or "#" in f.name
    )
    return portrait(folder) | {"strays": strays}

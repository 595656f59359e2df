"""Examinations block by block: few units, whose neighbours are looked up, and many, for which all are held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.publishing import NOTE
from tests.support.publishing import workspace as with_base
from wbrag.core.config import load
from wbrag.core.types import Evidence, Unit
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.units import checking
from wbrag.units.examine import nearest_of
from wbrag.workspace import Workspace

base = with_base


@pytest.fixture
def workspace(base: Workspace) -> Workspace:
    """One that only asks whether a unit repeats another."""
    return Workspace(base.path, load(checks={"enabled": ["novelty"]}))


def shelve(w: Workspace, count: int) -> list[str]:
    """Units whose vectors lie close together, of one text that their evidence supports."""
    rng = np.random.default_rng(3)
    vectors = np.array([1, 0, 0]) + 0.2 * rng.standard_normal((count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    said = "It is right, or right too, or nonsense."
    units = [
        Unit(f"Note {n}", said, (f"q{n}",), ((NOTE.id, NOTE.content_hash),), (Evidence(NOTE.id, said),))
        for n in range(count)
    ]
    w.shelf.add(units, vectors.astype(np.float32), encoder_fingerprint(w.config.encoder), 1.1)
    return w.shelf.ids()


@pytest.mark.parametrize("few", [0, 1000])
def test_few_and_many_are_found_alike_and_in_blocks(
    workspace: Workspace,
    few: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checking, "FEW", few)
    monkeypatch.setattr(checking, "BLOCK", 7)
    ids = shelve(workspace, 40)
    vectors = workspace.shelf.vectors(ids)
    check = workspace.library.checking
    check.examine(ids[::2], lambda units: {})
    check.examine(ids[1::2], lambda units: {})
    threshold = workspace.config.checks.novelty
    standing: list[str] = []
    found = workspace.results.findings()
    for id in [*ids[::2], *ids[1::2]]:
        near = any(float(vectors[id] @ vectors[other]) >= threshold for other in standing)
        assert ("novelty" in found[id].failed) == near, "a unit that repeats one before it passed, or the other way"
        if not near:
            standing.append(id)
    assert 3 < len(standing) < 37
    assert workspace.results.log.version == 5, "results are written after every block"


def test_what_was_examined_before_a_kill_is_not_examined_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "BLOCK", 8)
    ids, calls = shelve(workspace, 20), 0

    def nearest(units: object) -> dict[str, list[object]]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return {}

    check = workspace.library.checking
    with pytest.raises(KeyboardInterrupt):
        check.examine(ids, nearest)  # type: ignore[arg-type]
    before = workspace.results.findings()
    assert set(before) == set(ids[:16])
    left = check.unexamined()
    compared = [id for id in ids[:16] if not {"novelty", "conflict"}.isdisjoint(before[id].failed)]
    assert left == sorted([*compared, *ids[16:]])


@pytest.mark.parametrize("piece", [1, 3, 50])
def test_the_nearest_of_pieces_are_the_nearest_of_all(piece: int) -> None:
    rng = np.random.default_rng(0)
    shelf, asked = (rng.standard_normal((n, 8)).astype(np.float32) for n in (100, 5))
    pieces = (([str(n) for n in range(i, min(100, i + piece))], shelf[i : i + piece]) for i in range(0, 100, piece))
    found = nearest_of(pieces, asked, 4)
    for row in asked @ shelf.T:
        assert {str(n) for n in np.argsort(-row)[:4]} <= found
    assert len(found) <= 5 * 8 and nearest_of([], asked) == set()


def test_new_units_rewrite_no_file_and_changed_ones_do(tmp_path: Path, workspace: Workspace) -> None:
    ids = shelve(workspace, 6)
    files = {file: file.stat().st_mtime_ns for file in (workspace.path / "shelf" / "units").glob("*.parquet")}
    before = workspace.shelf.read()
    shelf = workspace.shelf
    fresh = Unit("Other", "Something else.", ("q",), (), ())
    shelf.add([fresh], np.eye(3, dtype=np.float32)[:1], "e", 1.1)
    assert (
        files.items()
        <= {file: file.stat().st_mtime_ns for file in (workspace.path / "shelf" / "units").glob("*.parquet")}.items()
    )
    assert [s.unit for s in shelf.read(ids)] == [s.unit for s in before]
    assert shelf.ids(0) == ids and shelf.ids() == sorted([*ids, fresh.id])
    assert [u.id for block in shelf.unit_blocks(ids, 4) for u in block] == ids
    assert all(np.array_equal(a.vector, b.vector) for a, b in zip(shelf.read(ids), before, strict=True))

"""A damaged shelf is mended: what commits are left counts, what verdicts hold is written again, the rest is named."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.publishing import NOTE, shelve, workspace
from wbrag.cli.main import main
from wbrag.core.errors import DamagedTable, UsageError
from wbrag.core.io.files import location
from wbrag.core.types import Evidence, Hit, Unit
from wbrag.enrich.rows import write_rows
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.units.layout import Layout
from wbrag.units.library import Library
from wbrag.units.repair import repair
from wbrag.units.table import JUDGED, StoredUnit, marks
from wbrag.workspace import Workspace

__all__ = ["workspace"]


class Stub:
    def embed(self, contents: Sequence[str]) -> Vectors:
        found = [np.random.default_rng(abs(hash(text)) % 2**32).normal(size=3) for text in contents]
        return np.array([v / np.linalg.norm(v) for v in found], dtype=np.float32)

    def nearest(self, units: Sequence[StoredUnit]) -> Mapping[str, Sequence[Hit]]:
        return {s.unit.id: [] for s in units}


def again(w: Workspace) -> Workspace:
    """As the next process opens it, which remembers nothing."""
    return Workspace(w.path, w.config)


def commits(w: Workspace, table: str) -> list[Path]:
    assert isinstance(w.path, Path)
    return sorted((w.path / "shelf" / table / "_delta_log").glob("*.json"))


def enriched(w: Workspace, texts: Sequence[str], metric: str = "task") -> list[str]:
    """Units of accepted verdicts, as `wbrag enrich` leaves them."""
    rows = [
        {
            "id": f"q{number}",
            "question": "Which?",
            "accepted": True,
            "error": "",
            "unit_title": f"Note {number}",
            "unit_text": text,
            "sources": [{"id": NOTE.id, "content_hash": NOTE.content_hash}],
            "evidence": [{"passage_id": NOTE.id, "sentence": text}],
        }
        for number, text in enumerate(texts)
    ]
    folder = w.path / "verdicts" / f"run-{metric}"
    write_rows(folder / "part.parquet", "enrich", rows)
    (folder / "run.json").write_text(json.dumps({"config": {"enrich": {"gate_metric": metric}}}))
    library = Library(w.layout, Stub())
    library.shelve(rows, folder.name, **({JUDGED: 1.0} if metric == "judge" else {}))
    library.check()
    return [s.unit.id for s in w.shelf.read() if s.unit.config_fingerprint == folder.name]


@pytest.mark.parametrize("damage", [b"", b'{"commitInfo": {"timest'])
def test_a_cut_decision_is_taken_up_again(workspace: Workspace, damage: bytes) -> None:
    """Its rows were written before its commit: the unit is still retired."""
    id = shelve(workspace, "right", 0)
    workspace.decide([id], "approved", by="ana", why="read it")
    workspace.decide([id], "retired", by="ana", why="wrong year")
    last = commits(workspace, "decisions")[-1]
    last.write_bytes(damage)
    with pytest.raises(DamagedTable):
        workspace.decisions.states()
    [mended] = repair(Library(workspace.layout, Stub()))["tables"]
    assert mended["table"] == "decisions" and last.name in mended["found"][0]
    assert mended["done"] == ["1 rows of the lost commit are there again"]
    assert workspace.decisions.states() == {id: "retired"}
    assert (last.parent.parent.parent / "damaged" / f"decisions-{last.name}").read_bytes() == damage
    assert repair(Library(workspace.layout, Stub())) == {"tables": [], "units_back": 0, "units_lost": []}
    workspace.decide([id], "approved", by="ana", why="after all")
    assert workspace.decisions.states() == {id: "approved"}


def test_lost_units_come_back_from_verdicts_and_the_others_are_named(workspace: Workspace) -> None:
    ids = enriched(workspace, ["right", "right too"])
    judged = enriched(workspace, ["nonsense"], "judge")
    foreign = shelve(workspace, "It is right", 0.5)  # of no verdict
    workspace.decide([ids[0]], "approved", by="ana", why="read it")
    before = {s.unit.id: s.unit for s in workspace.shelf.read()}
    for file in (workspace.path / "shelf" / "units").glob("*.parquet"):  # type: ignore[union-attr]
        file.write_bytes(b"")
    with pytest.raises(DamagedTable):
        again(workspace).shelf.read()
    found = repair(Library(again(workspace).layout, Stub()))
    assert found["units_back"] == 3 and found["units_lost"] == [foreign]
    after = {s.unit.id: s.unit for s in again(workspace).shelf.read()}
    assert set(after) == {*ids, *judged} and workspace.decisions.states()[ids[0]] == "approved"
    for id, unit in after.items():
        assert replace(unit, created_at="", scores={}) == replace(before[id], created_at="", scores={})
    assert [bool(marks(after[id])) for id in (*ids, *judged)] == [False, False, True]


def test_one_lost_file_of_rows_costs_its_own_rows(workspace: Workspace) -> None:
    ids = [shelve(workspace, text, angle) for text, angle in (("right", 0), ("right too", 1), ("nonsense", 2))]
    for id in ids:
        workspace.decide([id], "approved", by="ana", why=id)
    rows = sorted((workspace.path / "shelf" / "decisions").glob("*.parquet"), key=os.path.getmtime)  # type: ignore[union-attr]
    rows[1].write_bytes(rows[1].read_bytes()[:-30])
    [mended] = repair(Library(workspace.layout, Stub()))["tables"]
    assert mended["lost"] == [f"the rows of {rows[1].name}"] and "made anew of the 2 rows" in mended["done"][0]
    assert workspace.decisions.states() == {ids[0]: "approved", ids[2]: "approved"}


def test_a_replaced_unit_keeps_its_newest_row(workspace: Workspace) -> None:
    shelve(workspace, "right", 0)
    encoder = encoder_fingerprint(workspace.config.encoder)
    twin = Unit("Note", "right", ("q9",), ((NOTE.id, NOTE.content_hash),), (Evidence(NOTE.id, "right"),))
    workspace.shelf.add([twin], np.array([[1, 0, 0]], np.float32), encoder, 0.97)
    commits(workspace, "units")[-1].write_bytes(b"")
    repair(Library(again(workspace).layout, Stub()))
    [stored] = again(workspace).shelf.read()
    assert stored.unit.question_ids == ("q0", "q9")


def test_the_verb(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    id = shelve(workspace, "right", 0)
    workspace.decide([id], "approved", by="ana", why="read it")
    commits(workspace, "decisions")[-1].write_bytes(b"")
    assert main(["repair", "--workspace", str(workspace.path)]) == 0
    out = capsys.readouterr().out
    assert "empty or cut" in out and "made anew of the 1 rows" in out
    assert main(["repair", "--workspace", str(workspace.path)]) == 0
    assert "nothing to repair" in capsys.readouterr().out
    with pytest.raises(UsageError, match="an object store loses no commit"):
        repair(Library(Layout(location("s3://bucket/w"), workspace.config), Stub()))

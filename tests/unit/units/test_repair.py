"""A damaged shelf is mended: what commits are left counts, what verdicts hold is written again, the rest is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from deltalake import DeltaTable

from tests.support.publishing import NOTE, shelve, workspace
from wbrag.cli.main import main
from wbrag.core.errors import DamagedTable, UsageError
from wbrag.core.io.files import location
from wbrag.core.types import Evidence, Hit, Unit
from wbrag.enrich.row_files import write_rows
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.units.layout import Layout
from wbrag.units.library import Library
from wbrag.units.repair import repair
from wbrag.units.stored import JUDGED, StoredUnit, marks
from wbrag.units.table import KEEP_VERSIONS
from wbrag.units.usage import Feedback
from wbrag.workspace import Workspace

__all__ = ["workspace"]


class Stub:
    def embed(self, contents: Sequence[str]) -> Vectors:
        found = [np.random.default_rng(crc32(text.encode())).normal(size=3) for text in contents]
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
    config = {"enrich": {"gate_metric": metric}, "generator": {"model": "m"}}
    (folder / "run.json").write_text(json.dumps({"config": config, "generator": "1", "prompt_version": "p"}))
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
    assert not any(repair(Library(workspace.layout, Stub())).values()), "nothing is left to do"
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
        made = {"created_at": "", "scores": {}, "model": "m@1", "prompt_version": "p"}
        assert replace(unit, created_at="", scores={}) == replace(before[id], **made)  # type: ignore[arg-type]
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


def test_a_damaged_run_costs_its_own_units(workspace: Workspace) -> None:
    ids, judged = enriched(workspace, ["right", "right too"]), enriched(workspace, ["nonsense"], "judge")
    shutil.rmtree(workspace.path / "shelf" / "units")
    (workspace.path / "verdicts" / "run-judge" / "run.json").write_text("")
    found = repair(Library(again(workspace).layout, Stub()))
    assert (found["units_back"], found["units_lost"], found["runs_unread"]) == (2, judged, ["run-judge"])
    assert {s.unit.id for s in again(workspace).shelf.read()} == set(ids)


def test_what_freshness_closed_stays_closed(workspace: Workspace) -> None:
    [id] = enriched(workspace, ["right"])
    workspace.decisions.decide([id], "stale", by="wbrag", why="its source changed", policy="freshness")
    shutil.rmtree(workspace.path / "shelf" / "units")
    assert repair(Library(again(workspace).layout, Stub()))["units_back"] == 1
    assert again(workspace).decisions.states() == {id: "stale"}


def test_rows_that_were_written_anew_stand_once(workspace: Workspace) -> None:
    """A table that is compacted holds its rows in old files too, until somebody cleans up."""
    log = workspace.usage.feedback
    for number in range(5):
        workspace.usage.add([], [Feedback(f"r{number}", "2026", "", 1)])
    log.compact()
    workspace.usage.add([], [Feedback("r5", "2026", "", 1)])
    newest = max(log.folder.glob("*.parquet"), key=os.path.getmtime)  # type: ignore[union-attr]
    newest.write_bytes(b"")
    repair(Library(again(workspace).layout, Stub()))
    ratings = again(workspace).usage
    assert sorted(row.request_id for row in ratings.feedback.rows()) == [f"r{number}" for number in range(5)]
    ratings.add([], [Feedback("r4", "2026", "", -1)])
    assert ratings.ratings()["r4"].rating == -1, "the last word counts, also in a table that was begun anew"


@pytest.mark.parametrize("last", [None, b"\x00" * 40])
def test_a_checkpoint_holds_what_a_cut_commit_said(workspace: Workspace, last: bytes | None) -> None:
    log = workspace.usage.feedback
    for number in range(6):
        workspace.usage.add([], [Feedback(f"r{number}", "2026", "", 1)])
        if number == 3:
            DeltaTable(str(log.folder)).create_checkpoint()
    commits_of = sorted((log.folder / "_delta_log").glob("*.json"))  # type: ignore[union-attr]
    commits_of[1].write_bytes(b"")
    if last is not None:
        (log.folder / "_delta_log" / "_last_checkpoint").write_bytes(last)  # type: ignore[operator]
    [mended] = repair(Library(again(workspace).layout, Stub()))["tables"]
    assert "nothing is lost" in mended["done"][0] and not mended["lost"]
    usage = again(workspace).usage
    usage.add([], [Feedback("r6", "2026", "", 1)])
    assert len(usage.feedback.rows()) == 7


def test_a_unit_table_keeps_its_versions_when_a_lost_merge_is_taken_up(workspace: Workspace) -> None:
    shelve(workspace, "right", 0)
    encoder = encoder_fingerprint(workspace.config.encoder)
    twin = Unit("Note", "right", ("q9",), ((NOTE.id, NOTE.content_hash),), (Evidence(NOTE.id, "right"),))
    workspace.shelf.add([twin], np.array([[1, 0, 0]], np.float32), encoder, 0.97)
    commits(workspace, "units")[-1].write_bytes(b"")
    repair(Library(again(workspace).layout, Stub()))
    table = DeltaTable(str(workspace.shelf.folder))
    assert table.metadata().configuration == KEEP_VERSIONS, "delta-rs would delete what releases pin"


def test_a_cut_file_of_a_write_that_was_never_confirmed_is_no_loss(workspace: Workspace) -> None:
    workspace.usage.add([], [Feedback("r0", "2026", "", 1)])
    (workspace.usage.feedback.folder / "part-orphan.parquet").write_bytes(b"PAR")  # type: ignore[operator]
    [mended] = repair(Library(again(workspace).layout, Stub()))["tables"]
    assert mended["found"] == ["part-orphan.parquet: a cut file that no commit names"] and not mended["lost"]
    assert len(again(workspace).usage.feedback.rows()) == 1
    assert not any(repair(Library(again(workspace).layout, Stub())).values())


def test_a_repair_that_was_killed_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the old table's leaving and the new one's coming."""
    for number in range(3):
        workspace.usage.add([], [Feedback(f"r{number}", "2026", "", 1)])
    folder = workspace.usage.feedback.folder
    oldest = min(folder.glob("*.parquet"), key=os.path.getmtime)  # type: ignore[union-attr]
    oldest.write_bytes(b"")
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.name.endswith(".mended"):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as dying:
        dying.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            repair(Library(again(workspace).layout, Stub()))
    assert not folder.exists()  # type: ignore[union-attr]
    repair(Library(again(workspace).layout, Stub()))
    assert sorted(row.request_id for row in again(workspace).usage.feedback.rows()) == ["r1", "r2"]

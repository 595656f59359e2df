"""What was confirmed survives a power loss; what a power loss damaged is refused by name, never read on without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.power_loss import Disk
from wbrag.core.errors import DamagedTable, WbragError
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.files import file_in_one_step, folder_in_one_step, write_atomically
from wbrag.core.io.parquet import read_all
from wbrag.core.types import Unit
from wbrag.serving.keys import Keys, session_secret
from wbrag.units.decisions import Decision, Decisions
from wbrag.units.releases import Release, Releases
from wbrag.units.table import UnitTable

BASE = Release("r0001", 1, "publish", "2026", "", "", "b", "0" * 64, "w", "1" * 64, 0, 1, "e")


def unit(number: int) -> Unit:
    return Unit(f"Title {number}", f"Text {number}.", (f"q{number}",), ((f"p{number}", "h"),), ())


def decision(number: int, state: Any) -> Decision:
    return Decision(number, "wb-1", state, "candidate", "2026-01-01", "ada", "person", "")


def after(folder: Path, change: Callable[[Path], Any]) -> Path:
    """`folder` as a power loss right after `change` leaves it."""
    (folder / "w").mkdir(exist_ok=True)
    with Disk(folder).watched() as disk:
        change(folder / "w")
    assert disk.count, "nothing was synced at all"
    return disk.after_power_loss(folder.with_name(folder.name + "-after")) / "w"


def test_the_shim_loses_what_nobody_synced(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        write_atomically(folder / "kept", "kept")
        (folder / "lost").write_text("lost")

    root = tmp_path / "a"
    root.mkdir()
    assert [file.name for file in after(root, write).iterdir()] == ["kept"]


def test_files_folders_and_keys(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        write_atomically(folder / "deep" / "er" / "a.json", "{}")
        with file_in_one_step(folder / "b") as scratch:
            scratch.write_bytes(b"x" * 9)
        with folder_in_one_step(folder / "new" / "index") as made:
            (made / "sub").mkdir()
            (made / "sub" / "c").write_bytes(b"y")
        Keys(folder).add("ada", "admin")
        session_secret(folder)

    root = tmp_path / "a"
    root.mkdir()
    found = after(root, write)
    assert (found / "deep" / "er" / "a.json").read_text() == "{}" and (found / "b").read_bytes() == b"x" * 9
    assert (found / "new" / "index" / "sub" / "c").read_bytes() == b"y"
    assert [key.name for key in Keys(found).all()] == ["ada"] and session_secret(found) == session_secret(root / "w")


def test_units_decisions_and_releases(tmp_path: Path) -> None:
    """Each of them in its first commit, in a later one, and merged into what was there."""

    def write(folder: Path) -> None:
        table = UnitTable(folder / "units")
        for number in range(3):
            table.add([unit(number)], np.eye(4, dtype=np.float32)[[number]], "e", 0.99)
        again = Unit("Title 1", "Text 1.", ("q9",), (("p1", "h"),), ())
        table.add([again], np.eye(4, dtype=np.float32)[[1]], "e", 0.99)
        for action in ("approved", "retired"):
            Decisions(folder / "decisions").decide([unit(1).id], action, by="ada", policy="person", why="so")  # type: ignore[arg-type]
        releases = Releases(folder / "releases")
        releases.append(BASE)
        releases.rollback("r0001")

    root = tmp_path / "a"
    root.mkdir()
    found = after(root, write)
    shelf = {s.unit.title: s.unit.question_ids for s in UnitTable(found / "units").read()}
    assert shelf == {"Title 0": ("q0",), "Title 1": ("q1", "q9"), "Title 2": ("q2",)}
    assert len(AppendLog(found / "decisions", Decision).rows()) == 2
    assert [r.action for r in Releases(found / "releases").all()] == ["publish", "rollback"]


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(b""), lambda file: file.write_bytes(file.read_bytes()[:-40])]
)
def test_a_damaged_commit_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    log = AppendLog(tmp_path / "decisions", Decision)
    for number, state in enumerate(("approved", "retired"), 1):
        log.append([decision(number, state)])
    last = max((tmp_path / "decisions" / "_delta_log").glob("*.json"))
    damage(last)
    for read in (log.rows, lambda: log.version, lambda: log.append([decision(3, "approved")])):
        with pytest.raises(
            DamagedTable, match=f"found {last.name} empty or cut, as a power loss leaves it: run `wbrag repair`"
        ):
            read()


def test_a_damaged_file_of_rows_is_refused_by_name(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "decisions", Decision)
    log.append([decision(1, "approved")])
    [rows] = (tmp_path / "decisions").glob("*.parquet")
    rows.write_bytes(b"")
    with pytest.raises(DamagedTable, match="run `wbrag repair`"):
        log.rows()
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-9])
    with pytest.raises(WbragError, match=r"found .*rows.parquet damaged .*: remove it and run the command again"):
        read_all([tmp_path / "rows.parquet"])

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

import pytest
from deltalake import DeltaTable

from wbrag.core.io import append_log
from wbrag.core.io.append_log import AppendLog


class Number(NamedTuple):
    n: int


class Signed(NamedTuple):
    n: int
    by: str = ""
    why: str | None = None


def test_records_stay_as_they_were_written(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log", Number)
    assert (log.version, log.rows()) == (-1, [])
    log.append([])
    assert log.version == -1, "nothing to write must leave no table"
    for n in range(5):
        log.append([Number(n)])
    assert (log.version, sorted(log.rows())) == (4, [Number(n) for n in range(5)])


def test_compaction_changes_files_and_no_record(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log", Number)
    log.compact()
    for n in range(5):
        log.append([Number(n)])
    log.compact()
    assert len(DeltaTable(str(log.folder)).file_uris()) == 1
    assert sorted(log.rows()) == [Number(n) for n in range(5)]


def test_a_field_that_came_later_has_its_default_in_older_records(tmp_path: Path) -> None:
    older, newer = AppendLog(tmp_path / "log", Number), AppendLog(tmp_path / "log", Signed)
    older.append([Number(1)])
    assert newer.rows() == [Signed(1)]
    newer.append([Signed(2, "ana", "read it")])
    assert sorted(newer.rows()) == [Signed(1, "", None), Signed(2, "ana", "read it")]
    older.append([Number(3)])
    assert sorted(older.rows()) == [Number(1), Number(2), Number(3)], "an older wbrag passes the new columns over"


def test_tidying_loses_no_row_and_leaves_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while others append: theirs is a commit of its own."""
    log = AppendLog(tmp_path / "log", Number)
    assert not log.tidy()
    for n in range(70):
        log.append([Number(n)])

    def write() -> None:
        for n in range(100, 120):
            AppendLog(tmp_path / "log", Number).append([Number(n)])

    other = threading.Thread(target=write)
    other.start()
    assert log.tidy()
    other.join()
    assert not log.tidy()
    assert sorted(log.rows()) == [Number(n) for n in (*range(70), *range(100, 120))]
    assert len(list(log.folder.glob("*.parquet"))) > 70, "what somebody may be reading stays"
    monkeypatch.setattr(append_log, "KEPT_H", 0)
    assert log.tidy(files=2)
    assert len(list(log.folder.glob("*.parquet"))) <= 3
    assert sorted(log.rows()) == [Number(n) for n in (*range(70), *range(100, 120))]

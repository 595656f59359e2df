from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from wbrag.core.io.append_log import AppendLog

NUMBERS = pa.schema([("n", pa.int64())])


def test_rows_stay_as_they_were_written(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log", NUMBERS)
    assert (log.version, log.rows()) == (-1, [])
    log.append([])
    assert log.version == -1, "nothing to write must leave no table"
    for n in range(5):
        log.append([{"n": n}])
    assert (log.version, sorted(row["n"] for row in log.rows())) == (4, [0, 1, 2, 3, 4])


def test_compaction_changes_files_and_no_row(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log", NUMBERS)
    log.compact()
    for n in range(5):
        log.append([{"n": n}])
    log.compact()
    assert len(DeltaTable(str(log.folder)).file_uris()) == 1
    assert sorted(row["n"] for row in log.rows()) == [0, 1, 2, 3, 4]


def test_a_column_that_came_later_reads_as_none_in_older_rows(tmp_path: Path) -> None:
    AppendLog(tmp_path / "log", NUMBERS).append([{"n": 1}])
    newer = AppendLog(tmp_path / "log", pa.schema([("n", pa.int64()), ("by", pa.string())]))
    assert newer.rows() == [{"n": 1, "by": None}]
    newer.append([{"n": 2, "by": "ana"}])
    assert sorted(newer.rows(), key=lambda r: r["n"]) == [{"n": 1, "by": None}, {"n": 2, "by": "ana"}]

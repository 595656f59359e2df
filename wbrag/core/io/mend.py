"""Mending of a local Delta table that a power loss, or a failing disk, has damaged.

Nothing is deleted: what is damaged is moved into the folder `damaged` beside the table. Where every commit but the last
is whole, the table goes back to it, and rows that the lost commit had written are taken up again; else the table is
made anew from every file of rows that can be read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from wbrag.core.errors import DamagedTable, StoreError
from wbrag.core.io.delta import COMMIT, LOG, added, append, check_commits, damaged_rows, durable, table_at
from wbrag.core.io.durable import make_folder, sync
from wbrag.core.io.files import locked

DAMAGED = "damaged"


@dataclass
class Mended:
    """What was wrong with a table, what was done, and what is gone for good."""

    table: str
    found: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def mend(folder: Path, key: str = "", configuration: Mapping[str, str] | None = None) -> Mended | None:
    """Mend the table at `folder`; None where there is none, or nothing to mend.

    Of rows with one `key`, the newest counts: a table in which rows are replaced. Without it rows are only appended.
    """
    if not folder.exists() and _scratch(folder).is_dir():
        _scratch(folder).rename(folder)  # a repair was killed when the new table was whole
    if not (folder / LOG).is_dir():
        return None
    with locked(folder.with_suffix(".lock")):
        found = Mended(folder.name)
        _cut_commits(folder, found)
        named = _files_of(folder, "add")
        cut = damaged_rows(folder)
        gone = [file.name for file in cut if file.name in named]
        found.found += [f"{name}: a file of rows, empty or cut" for name in gone]
        found.lost += [f"the rows of {name}" for name in gone]
        found.found += [f"{file.name}: a cut file that no commit names" for file in cut if file.name not in named]
        for file in cut:
            _aside(folder, file)
        stray = _stray(folder, named) if found.lost else []
        if gone or (stray and key) or not _opens(folder):
            _make_anew(folder, key, configuration, found)
        elif stray:
            rows = _without(_rows_of(stray), table_at(folder))
            if len(rows):
                append(folder, rows)
            found.done.append(f"{len(rows)} rows of the lost commit are there again")
        elif found.lost:
            found.done.append("the table is as it was before the lost commit")
        return found if found.found or found.done else None


def _cut_commits(folder: Path, found: Mended) -> None:
    """Move commits that are not whole away, and all that follow them: a later one builds on what is lost.

    One that a checkpoint covers is not missed.
    """
    covered = _checkpoint(folder)
    commits = {int(file.stem): file for file in (folder / LOG).iterdir() if COMMIT.fullmatch(file.name)}
    for version in sorted(commits):
        try:
            added(commits[version])
        except (ValueError, KeyError, TypeError):
            found.found.append(f"{commits[version].name}: a commit, empty or cut")
            if version <= covered:
                _aside(folder, commits[version])
                found.done.append(f"{commits[version].name} is in the checkpoint of commit {covered}: nothing is lost")
                continue
            for later in sorted(v for v in commits if v >= version):
                found.found += [f"{commits[later].name}: a commit after that one"] if later > version else []
                found.lost.append(f"what commit {commits[later].name} took away or replaced, if anything")
                _aside(folder, commits[later])
            return


def _checkpoint(folder: Path) -> int:
    """The version of the newest checkpoint that is whole, -1 for none; others are moved away."""
    last, found = folder / LOG / "_last_checkpoint", -1
    for file in sorted((folder / LOG).glob("*.checkpoint.parquet")):
        try:
            pq.read_metadata(file)
            found = int(file.name[:20])
        except (pa.ArrowInvalid, OSError, ValueError):
            _aside(folder, file)
    try:
        stands = not last.is_file() or int(json.loads(last.read_text(encoding="utf-8"))["version"]) <= found
    except (ValueError, KeyError, TypeError):
        stands = False
    if not stands:
        _aside(folder, last)
    return found


def _opens(folder: Path) -> bool:
    try:
        check_commits(folder)
        table = table_at(folder)
        return table is not None and table.to_pyarrow_table() is not None
    except (DamagedTable, StoreError, pa.ArrowInvalid, OSError):
        return False


def _files_of(folder: Path, action: str) -> set[str]:
    """The files of rows that commits `add`, or `remove` once they have written their rows anew."""
    commits = [file for file in (folder / LOG).iterdir() if COMMIT.fullmatch(file.name)]
    entries = (
        json.loads(line) for commit in commits for line in commit.read_text(encoding="utf-8").splitlines() if line
    )
    return {Path(unquote(entry[action]["path"])).name for entry in entries if action in entry}


def _without(rows: pa.Table, table: DeltaTable | None) -> pa.Table:
    """Those that the table does not hold: the commit that was lost may have put its rows in fewer files."""
    whole = table.to_pyarrow_table() if table else rows.slice(0, 0)
    named = [name for name in rows.column_names if name in whole.column_names]
    there = {repr(row) for row in whole.select(named).to_pylist()}
    return rows.filter(pa.array([repr(row) not in there for row in rows.select(named).to_pylist()], pa.bool_()))


def _stray(folder: Path, named: set[str]) -> list[Path]:
    """Files of rows that no commit names, written after the last whole one: those of the commit that was lost."""
    since = max((f.stat().st_mtime for f in (folder / LOG).iterdir() if COMMIT.fullmatch(f.name)), default=0.0)
    return [file for file in _row_files(folder) if file.name not in named and file.stat().st_mtime >= since]


def _scratch(folder: Path) -> Path:
    """Where a table is made anew before it takes its place."""
    return folder.with_name(f".{folder.name}.mended")


def _make_anew(folder: Path, key: str, configuration: Mapping[str, str] | None, found: Mended) -> None:
    """A table of one commit, of every row that can be read; the old one lies in `damaged` whole."""
    gone = _files_of(folder, "remove")
    files = sorted((f for f in _row_files(folder) if f.name not in gone), key=lambda file: file.stat().st_mtime)
    if not files:
        shutil.move(folder, _place(folder, folder))
        found.done.append("no row could be read: the table is begun anew")
        return
    rows = _rows_of(files)
    if not key:  # what a lost commit had written anew stands twice
        rows = rows.take(list({repr(row): at for at, row in enumerate(rows.to_pylist())}.values()))
    else:
        newest = {id: at for at, id in enumerate(rows[key].to_pylist())}
        rows = rows.take(sorted(newest.values()))
    scratch = _scratch(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    with durable(scratch):
        write_deltalake(str(scratch), rows, configuration=dict(configuration or {}))
    shutil.move(folder, _place(folder, folder))
    scratch.rename(folder)
    sync(folder.parent)
    found.done.append(f"made anew of the {len(rows)} rows that can be read")


def _rows_of(files: Sequence[Path]) -> pa.Table:
    """Of files that different calls of delta-rs wrote, some of them with views of strings."""
    tables = [pq.read_table(file) for file in files]
    plain = (table.cast(pa.schema([field.with_type(_plain(field.type)) for field in table.schema])) for table in tables)
    return pa.concat_tables(plain, promote_options="default")


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(i).with_type(_plain(kind.field(i).type)) for i in range(kind.num_fields)])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("element", _plain(kind.value_type)))
    return kind


def _row_files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("**/*.parquet") if file.parent.name != LOG]


def _aside(folder: Path, file: Path) -> None:
    shutil.move(file, _place(folder, file))
    sync(file.parent)


def _place(folder: Path, file: Path) -> Path:
    """A free name in `damaged` beside the table."""
    aside = folder.parent / DAMAGED
    make_folder(aside)
    name = file.name if file == folder else f"{folder.name}-{file.name}"
    number = 0
    while (place := aside / (f"{name}.{number}" if number else name)).exists():
        number += 1
    return place

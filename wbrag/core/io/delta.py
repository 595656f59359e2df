"""Delta tables: open, append with optimistic concurrency, and every failure in one sentence.

A commit is all or nothing; with `after` it fails where another one came first. On a local disk it is durable once
written, and one that a power loss emptied is refused: without it a retired unit would be approved again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial, reduce
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from tenacity import wait_none

from wbrag.core.errors import DamagedTable, StoreError, WbragError, said
from wbrag.core.io.durable import make_folder, sync
from wbrag.core.io.files import Location
from wbrag.core.retry import retried

LOG, PARQUET = "_delta_log", b"PAR1"  # what a file of rows begins and ends with
COMMIT = re.compile(r"[0-9]{20}\.json")
Values = Mapping[str, pa.Array]  # by column
ONCE = CommitProperties(max_commit_retries=0)  # fails where another commit came first, also one that would not clash


def table_at(folder: Location, version: int | None = None) -> DeltaTable | None:
    """The table as of `version`, else as it is now; None where there is none."""
    with delta_errors("read", folder):
        if isinstance(folder, Path):
            check_commits(folder)
            return DeltaTable(str(folder), version=version) if DeltaTable.is_deltatable(str(folder)) else None
        try:  # `is_deltatable` asks the network with Python's lock held: a slow store would stop every thread
            return DeltaTable(str(folder), version=version, storage_options=_options(folder))
        except TableNotFoundError:
            return None


def append(
    folder: Location, rows: pa.Table, *, after: int | None = None, configuration: Mapping[str, str] | None = None
) -> None:
    """All of `rows` in one commit. With `after`, only as the commit that follows this version (-1: the first).

    So no two machines that decided on the same state can both write what they decided. Raises `WbragError`.
    """
    table: Any = str(folder)
    if after is not None and after >= 0:
        table = table_at(folder, after)
    elif isinstance(folder, Path):
        check_commits(folder)
    options = None if isinstance(table, DeltaTable) else _options(folder)
    write = partial(
        write_deltalake,
        table,
        rows,
        mode="error" if after == -1 else "append",
        schema_mode=None if after == -1 else "merge",
        commit_properties=ONCE if after is not None else None,
        storage_options=options,
        configuration=configuration,
    )
    # Of two that make one table the later fails, and may append to what is there now.
    with delta_errors("write", folder), durable(folder):
        retried(write, 2, lambda error: after is None and isinstance(error, CommitFailedError), wait_none())


def scan(
    table: DeltaTable, folder: Location, wanted: pa.Schema, any_of: Values | None = None, rows: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """The rows of `table` with these columns in pieces of up to `rows`; a column that it does not have yet is null.

    `any_of`: only rows that have one of these values in one of these columns. Few pieces are read ahead, so that memory
    stays bounded. (Files' statistics are not used: ids are hashes, and delta-rs gives them as texts of another type.)
    """
    with delta_errors("read", folder):
        dataset = table.to_pyarrow_dataset()
        needed = [name for name in dict.fromkeys([*wanted.names, *(any_of or ())]) if name in dataset.schema.names]
        for piece in dataset.scanner(needed, batch_size=rows, batch_readahead=2, fragment_readahead=2).to_batches():
            if any_of is not None:
                masks = [pc.is_in(piece[name], value_set=values) for name, values in any_of.items()]
                piece = piece.filter(reduce(pc.or_, masks))
            columns = [
                piece[field.name].cast(field.type) if field.name in needed else pa.nulls(len(piece), field.type)
                for field in wanted
            ]
            if len(piece):
                yield pa.record_batch(columns, wanted)


@contextmanager
def durable(folder: Location) -> Iterator[None]:
    """The commits that the block adds to a local table are on the disk when it ends: rows first, names last."""
    if not isinstance(folder, Path):
        yield
        return
    make_folder(folder)
    before = set(_names(folder))
    yield
    log = folder / LOG
    for name in sorted(set(_names(folder)) - before) + ["_last_checkpoint"]:
        if COMMIT.fullmatch(name):
            for row in added(log / name):
                sync(row)
        if (log / name).is_file():
            sync(log / name)
    for names in (log, folder):
        if names.is_dir():
            sync(names)


def added(commit: Path) -> list[Path]:
    """The files of rows that a commit of a local table added. Raises `ValueError` for a commit that is not whole."""
    lines = [json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines() if line]
    if not lines:
        raise ValueError("empty")
    paths = [unquote(line["add"]["path"]) for line in lines if "add" in line]
    return [file for path in paths if (file := commit.parent.parent / path).is_file()]


def _names(folder: Path) -> list[str]:
    return [file.name for file in (folder / LOG).iterdir()] if (folder / LOG).is_dir() else []


_WHOLE: dict[Path, str] = {}  # table -> its newest commit when it was last looked at


def check_commits(folder: Path) -> None:
    """Raises `DamagedTable` for a commit that is empty or, the newest one, cut: delta-rs would read on without it."""
    commits = sorted(name for name in _names(folder) if COMMIT.fullmatch(name))
    whole = _WHOLE.get(folder, "")  # the newest of those that were looked at: none of them changes
    for name in [name for name in commits if name > whole] or commits[-1:]:
        try:
            if name == commits[-1] or not (folder / LOG / name).stat().st_size:
                added(folder / LOG / name)
        except FileNotFoundError:
            continue  # cleaned up by another process
        except (ValueError, KeyError, TypeError):
            _WHOLE.pop(folder, None)
            raise DamagedTable(
                f"expected whole commits of the table {folder}, found {name} empty or cut, as a power loss leaves it: "
                "run `wbrag repair`"
            ) from None
    if commits:
        _WHOLE[folder] = commits[-1]


def damaged_rows(folder: Path) -> list[Path]:
    """The files of rows of a local table that are no whole Parquet files."""
    found = []
    for file in sorted(folder.glob("**/*.parquet")):
        if file.parent.name != LOG:
            with file.open("rb") as opened:
                size = opened.seek(0, 2)
                opened.seek(max(0, size - len(PARQUET)))
                found += [file] if size < 2 * len(PARQUET) or opened.read() != PARQUET else []
    return found


@contextmanager
def delta_errors(verb: str, folder: Location) -> Iterator[None]:
    """What delta-rs raises inside the block leaves it as a `WbragError`, a disk's or a store's as a `StoreError`."""
    try:
        yield
    except TableNotFoundError:
        raise
    except (DeltaError, OSError, pa.ArrowInvalid) as error:
        if isinstance(error, CommitFailedError) or "table already exists" in str(error):
            raise WbragError(
                f"expected to be the only one to write {folder}, found another commit meanwhile: do it again"
            ) from None
        if verb == "read" and isinstance(folder, Path) and (cut := damaged_rows(folder)):
            raise DamagedTable(
                f"expected whole files of rows in the table {folder}, found {cut[0].name} empty or cut, as a power "
                "loss leaves it: run `wbrag repair`"
            ) from None
        if isinstance(folder, Path):
            raise StoreError(
                f"expected to {verb} {folder}, found {said(error)}: free the disk or check the path"
            ) from None
        from wbrag.core.io.objects import store_error

        raise store_error(f"to {verb} {folder}", error) from None


def _options(folder: Location) -> dict[str, str] | None:
    if isinstance(folder, Path):
        return None
    from wbrag.core.io.objects import delta_options

    return delta_options(folder)

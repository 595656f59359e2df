"""Delta tables: open, append with optimistic concurrency, and every failure in one sentence.

A commit is all or nothing; with `after` it fails where another one came first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from tenacity import wait_none

from wbrag.core.errors import StoreError, WbragError, said
from wbrag.core.io.files import Location
from wbrag.core.retry import retried

ONCE = CommitProperties(max_commit_retries=0)  # fails where another commit came first, also one that would not clash


def table_at(folder: Location, version: int | None = None) -> DeltaTable | None:
    """The table as of `version`, else as it is now; None where there is none."""
    with delta_errors("read", folder):
        if isinstance(folder, Path):
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
    with delta_errors("write", folder):
        retried(write, 2, lambda error: after is None and isinstance(error, CommitFailedError), wait_none())


@contextmanager
def delta_errors(verb: str, folder: Location) -> Iterator[None]:
    """What delta-rs raises inside the block leaves it as a `WbragError`, a disk's or a store's as a `StoreError`."""
    try:
        yield
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as error:
        if isinstance(error, CommitFailedError) or "table already exists" in str(error):
            raise WbragError(
                f"expected to be the only one to write {folder}, found another commit meanwhile: do it again"
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

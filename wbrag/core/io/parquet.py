"""Parquet reads: the files of the corpus, rows by their ids, and many files in parallel.

A corpus that is being replaced is refused, so that nobody reads half of the old one and half of the new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wbrag.core.errors import WbragError, said
from wbrag.core.io.files import Location, listed, opened

REPLACING = ".replacing"  # lies in a corpus of an object store while its files are exchanged, one after the other
PARALLEL_READS = 16  # files of an object store


def corpus_files(corpus: Location) -> list[Location]:
    """The files of the corpus, in order; none where there is no corpus. Raises `WbragError` for half of one."""
    found = listed(corpus, "*")
    if any(file.name == REPLACING for file in found):
        raise WbragError(
            f"expected a whole corpus in {corpus}, found one that was being replaced: run `wbrag ingest corpus` again"
        )
    return [file for file in found if file.suffix == ".parquet" and not file.name.startswith(".")]


def has_columns(file: Location, *names: str) -> bool:
    """Whether the file has one of these columns; read again where the file has changed."""
    stat = file.stat()
    return not _columns(file, stat.st_size, getattr(stat, "st_mtime_ns", 0)).isdisjoint(names)


@lru_cache(4096)  # it is asked with every request of a key of some groups
def _columns(file: Location, size: int, at: int) -> frozenset[str]:
    try:
        return frozenset(pq.read_schema(opened(file)).names)
    except pa.ArrowInvalid as error:
        raise _damaged(file, error) from None


def rows_with_ids(files: Sequence[Location], ids: Collection[str], columns: list[str] | None = None) -> pa.Table:
    """The rows of these files (at least one) that `ids` name, or those of `columns` that a file has."""
    wanted = pa.array(sorted(ids), pa.string())
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        found = list(pool.map(partial(_rows_of, wanted=wanted, columns=columns), files))
    return pa.concat_tables(found, promote_options="default")  # a file of before may lack a column


def _rows_of(file: Location, wanted: pa.Array, columns: list[str] | None) -> pa.Table:
    """Of the row groups that hold none of the ids nothing else is read: the texts of a corpus are most of it."""
    try:
        parquet = pq.ParquetFile(opened(file))
        columns = columns and [name for name in columns if name in parquet.schema_arrow.names]
        found = [parquet.schema_arrow.empty_table().select(columns or parquet.schema_arrow.names)]
        for group in range(parquet.num_row_groups):
            named = pc.is_in(parquet.read_row_group(group, columns=["id"])["id"], wanted)
            if pc.any(named).as_py():
                found.append(parquet.read_row_group(group, columns=columns).filter(named))
    except pa.ArrowInvalid as error:
        raise _damaged(file, error) from None
    return pa.concat_tables(found)


def counts(files: Sequence[Location], column: str) -> dict[str, int]:
    """How often each text of a column stands in these files, read one by one; a null counts as an empty text."""
    found: Counter[str] = Counter()
    for file in files:
        for row in pc.value_counts(read_file(file, columns=[column])[column]).to_pylist():
            found[row["values"] or ""] += row["counts"]
    return dict(found)


def read_file(file: Location, **options: Any) -> pa.Table:
    """One file's rows; `options` are `pyarrow.parquet.read_table`'s. Raises `WbragError` for a damaged file."""
    try:
        return pq.read_table(opened(file), **options)
    except pa.ArrowInvalid as error:
        raise _damaged(file, error) from None


def _damaged(file: Location, error: pa.ArrowInvalid) -> WbragError:
    return WbragError(
        f"expected a whole Parquet file, found {file} damaged ({said(error)[:120]}), as a power loss leaves it: "
        "remove it and run the command again"
    )


def read_all(files: Sequence[Location], columns: list[str] | None = None) -> list[pa.Table]:
    """Each file's rows, in the order of `files`."""
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        return list(pool.map(lambda file: read_file(file, columns=columns), files))

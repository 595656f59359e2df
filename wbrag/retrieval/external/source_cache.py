"""Source cache: the passages that units were distilled from, kept in the workspace where the corpus is external.

Of a passage that several runs retrieved the last run's text counts; a number orders runs, no clock does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.io.files import Location, file_in_one_step
from wbrag.core.io.parquet import read_file
from wbrag.core.io.schemas import from_table
from wbrag.core.types import Passage
from wbrag.retrieval.index.shard import PASSAGES


def save_passages(folder: Location, name: str, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Keep the sources of the accepted `verdicts` as they were retrieved, in one file a run, numbered in order."""
    found = {row["id"]: row for verdict in verdicts for row in verdict["source_passages"] or ()}
    number = max(map(_number, folder.glob("*.parquet")), default=0) + 1
    with file_in_one_step(folder / f"{number:08d}-{name}.parquet") as scratch:
        pq.write_table(pa.Table.from_pylist([found[id] for id in sorted(found)], PASSAGES), scratch)
    for earlier in folder.glob(f"*{name}.parquet"):
        if _number(earlier) < number:
            earlier.unlink(missing_ok=True)


def _number(file: Location) -> int:
    """Its place in the order of runs; 0 for files of before they were numbered."""
    number, dash, _ = file.name.partition("-")
    return int(number) if dash else 0


def load_passages(folder: Location, ids: Collection[str]) -> dict[str, Passage]:
    """Those of `ids` that a run retrieved, as the last one did: by its number, since a clock may be set back."""
    found: dict[str, Passage] = {}
    for file in sorted(folder.glob("*.parquet"), key=_number):
        if ids:
            rows = read_file(file, filters=[("id", "in", list(ids))])
            found |= {passage.id: passage for passage in from_table(Passage, rows)}
    return found

"""The passages that units were distilled from, kept in the workspace where the corpus is elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.files import file_in_one_step
from wbrag.retrieval.shard import PASSAGES
from wbrag.types import Passage


def remember(folder: Path, name: str, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Keep the sources of the accepted `verdicts` as they were retrieved, in one file a run."""
    found = {row["id"]: row for verdict in verdicts for row in verdict["source_passages"] or ()}
    with file_in_one_step(folder / f"{name}.parquet") as scratch:
        pq.write_table(pa.Table.from_pylist([found[id] for id in sorted(found)], PASSAGES), scratch)


def remembered(folder: Path, ids: Collection[str]) -> dict[str, Passage]:
    """Those of `ids` that a run retrieved, as the last one did."""
    found: dict[str, Passage] = {}
    for file in sorted(folder.glob("*.parquet"), key=lambda file: file.stat().st_mtime_ns):
        rows = pq.read_table(file, filters=[("id", "in", list(ids))]).to_pylist() if ids else []
        found |= {row["id"]: Passage(row["id"], row["title"], row["text"]) for row in rows}
    return found

"""Unit export: the units of a release, or those in one state, as one file for other programs.

The file appears whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.core.errors import WbragError, unknown
from wbrag.core.io.files import Location, file_in_one_step
from wbrag.core.io.schemas import schema_of
from wbrag.units.decisions import Decision, State
from wbrag.units.layout import Layout
from wbrag.units.release_contents import release_ids

ExportFormat = Literal["jsonl", "parquet", "flashrag"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
PIECE = 10_000  # rows that are Python objects at a time
TOLD = ("state", "at", "by", "why")  # of each decision


def export_units(
    layout: Layout,
    out: Location,
    format: ExportFormat = "jsonl",
    *,
    release: str = "latest",
    state: State | None = None,
) -> dict[str, Any]:
    """Write the units of `release`, or all those in `state`, to `out` in one step; says how many.

    jsonl and parquet hold the whole provenance and every decision, parquet the vectors too; flashrag `id` and
    `contents` alone, which is a corpus.
    """
    if format not in FORMATS:
        raise unknown("format", format, list(FORMATS))
    rows = _rows(layout, release, state)
    with file_in_one_step(out) as scratch:
        if format == "parquet":
            pq.write_table(rows, scratch, compression="zstd")
        else:
            lines = _documents(rows) if format == "flashrag" else _records(rows)
            with scratch.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return {"units": len(rows), "of": state or layout.releases.get(release).id, "format": format, "file": str(out)}


def _rows(layout: Layout, release: str, state: State | None) -> pa.Table:
    """The shelf's rows of these units, in the order of their ids, with their state and decisions."""
    states = layout.decisions.states()
    if state is not None:
        wanted = {id for id in layout.shelf.ids() if states.get(id, "candidate") == state}
    else:
        wanted = set(release_ids(layout, layout.releases.get(release)))
    table = layout.shelf.table(ids=wanted)
    if len(table) < len(wanted):
        raise WbragError(f"expected {len(wanted)} units on the shelf, found {len(table)}: publish again")
    history: dict[str, list[dict[str, str]]] = {}
    for d in layout.decisions.over(wanted):
        history.setdefault(d.unit_id, []).append({name: getattr(d, name) for name in TOLD})
    ids = table["id"].to_pylist()
    table = table.append_column("state", pa.array([states.get(id, "candidate") for id in ids], pa.string()))
    step = pa.struct([schema_of(Decision).field(name) for name in TOLD])
    return table.append_column("decisions", pa.array([history.get(id, []) for id in ids], pa.list_(step)))


def _records(rows: pa.Table) -> Iterator[Mapping[str, Any]]:
    for piece in rows.drop_columns(["vector"]).to_batches(max_chunksize=PIECE):
        for row in piece.to_pylist():
            yield row | {"scores": json.loads(row["scores"])}


def _documents(rows: pa.Table) -> Iterator[Mapping[str, Any]]:
    for piece in rows.select(["id", "title", "text"]).to_batches(max_chunksize=PIECE):
        for row in piece.to_pylist():
            yield {"id": row["id"], "contents": f"{row['title']}\n{row['text']}"}

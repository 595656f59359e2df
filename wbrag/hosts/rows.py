"""One pass over examples on Ray Data: rows -> coroutines in actors -> Parquet, resumable row by row.

The output is the checkpoint: a row is finished when it stands in a Parquet file of the output folder, whose name is
the fingerprint of everything that decides the row. A file appears whole or not at all, so that a killed run can lose
only rows in flight. Ray Data's own checkpoint keeps ids beside the output; this needs no second record to agree with.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy
from ray.data.block import Block, BlockAccessor
from ray.data.datasource import Datasink

from wbrag.config import Config
from wbrag.errors import WbragError
from wbrag.hosts.failures import in_one_sentence
from wbrag.hosts.quiet import data_context
from wbrag.records import Handles, RowJob, read_rows, write_rows
from wbrag.types import Example

WRITERS = 2  # a block's file takes milliseconds, a process to write it from takes seconds to start
ROWS_AT_ONCE = 16  # coroutines of one block, Ray Data's own default for async rows


class AtomicParquet(Datasink[None]):
    """Every block one file, written aside and renamed."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind

    def write(self, blocks: Iterable[Block], ctx: Any) -> None:
        rows = [
            json.loads(row) for block in blocks for row in BlockAccessor.for_block(block).to_arrow()["row"].to_pylist()
        ]
        if rows:
            write_rows(self.folder, self.kind, rows)


class RowActor:
    """Runs one coroutine per row; whatever a row raises becomes that row's `error`."""

    def __init__(self, job: RowJob, handles: Handles) -> None:
        self.run = job.prepare(handles)
        self.job = job

    async def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        example = Example(**{**json.loads(row["example"])})
        try:
            record = await self.run(example)
        except Exception as error:  # quarantined with its reason; the run goes on
            reason = " ".join(str(error).split())[:500]
            record = self.job.failed(example, f"{type(error).__name__}: {reason}")
        return {"row": json.dumps(record)}


def run_rows(
    config: Config,
    job: RowJob,
    handles: Callable[[], Handles],
    examples: Sequence[Example],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, dict[str, Any]], int]:
    """Run `job` over those `examples` that `folder` does not hold yet.

    `handles` is called, and with it models start, only if there is work. Returns every example's record by id, and how
    many were there before. `progress` gets (rows finished, rows in all).
    """
    wanted = {example.id for example in examples}
    before = {id: row for id, row in read_rows(folder).items() if id in wanted and not row["error"]}
    todo = [example for example in examples if example.id not in before]
    if todo:
        failure: list[BaseException] = []
        thread = threading.Thread(target=_guarded, args=(failure, config, job, handles(), todo, folder), daemon=True)
        thread.start()
        counter = _Counter(folder, wanted)
        while thread.is_alive():
            thread.join(0.5)
            if progress:
                progress(counter.count(), len(wanted))
        if failure:
            raise in_one_sentence(f"the run over {len(todo)} rows", failure[0]) from None
    records = {id: row for id, row in read_rows(folder).items() if id in wanted}
    if missing := len(wanted) - len(records):
        raise WbragError(
            f"expected {len(wanted)} finished rows in {folder}, found {missing} missing: run the command again"
        )
    return records, len(before)


def _guarded(failure: list[BaseException], *arguments: Any) -> None:
    try:
        _execute(*arguments)
    except BaseException as error:
        failure.append(error)


def _execute(config: Config, job: RowJob, handles: Handles, todo: Sequence[Example], folder: Path) -> None:
    size = config.ray.block_rows
    rows = [json.dumps(asdict(e)) for e in todo]
    if len(rows) <= size:  # one block is nothing to share out, and Ray Data takes seconds to start
        write_rows(folder, job.kind, asyncio.run(_here(RowActor(job, handles), rows)))
        return
    data_context()
    blocks = [pa.table({"example": rows[i : i + size]}) for i in range(0, len(rows), size)]
    low, high = config.generator.engines
    in_flight = max(2, config.generator.concurrency // min(size, ROWS_AT_ONCE))
    pool = ActorPoolStrategy(
        min_size=low, max_size=high, max_tasks_in_flight_per_actor=in_flight, max_concurrent_calls_per_actor=in_flight
    )
    ray.data.from_arrow(blocks).map(
        RowActor, fn_constructor_args=(job, handles), compute=pool, num_cpus=0.5
    ).write_datasink(AtomicParquet(folder, job.kind), ray_remote_args={"num_cpus": 0.1}, concurrency=WRITERS)


async def _here(actor: RowActor, rows: Sequence[str]) -> list[dict[str, Any]]:
    """The rows' records, worked out in this process."""
    found = await asyncio.gather(*(actor({"example": row}) for row in rows))
    return [json.loads(record["row"]) for record in found]


class _Counter:
    """Finished rows of the output folder, each file opened once."""

    def __init__(self, folder: Path, wanted: set[str]) -> None:
        self.folder, self.wanted, self.done, self.files = folder, wanted, set[str](), set[Path]()

    def count(self) -> int:
        for file in set(self.folder.glob("*.parquet")) - self.files:
            self.files.add(file)
            self.done |= self.wanted & set(pq.read_table(file, columns=["id"])["id"].to_pylist())
        return len(self.done)

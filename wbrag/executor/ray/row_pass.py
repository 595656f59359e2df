"""Row pass: examples -> blocks, handed to the engines by this process or by Ray Data -> Parquet, resumable by row.

The output is the checkpoint: a row is finished when it stands in a Parquet file of the output folder, whose name is
the fingerprint of everything that decides the row. A file appears whole or not at all, so that a killed run can lose
only rows in flight. Ray Data's own checkpoint keeps ids beside the output; this needs no second record to agree with.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, listed
from wbrag.core.io.parquet import read_file
from wbrag.core.types import Example
from wbrag.enrich.enrich import NOTHING, Known
from wbrag.enrich.row_files import StoredRows, finished, read_rows
from wbrag.enrich.row_jobs import Handles, RowJob
from wbrag.enrich.rows import example_json
from wbrag.executor.ray.capacity import waiting
from wbrag.executor.ray.dispatch import Block, Dispatcher, at_once, given, homes
from wbrag.executor.ray.engines import RemoteGenerator
from wbrag.executor.ray.failures import in_one_sentence
from wbrag.executor.ray.quiet import data_context
from wbrag.executor.ray.row_worker import Output, RowWorker, Told, Work, alike
from wbrag.executor.ray.shares import DISPATCH

Reuse = Callable[[Sequence[Example]], tuple[set[str], dict[str, Known]]]  # ids of rows written, and what is known else
LOOKS_S = {True: 0.5, False: 5.0}  # between looks at the output folder, local or in an object store
RESTARTS = 100  # of the process that hands out blocks: nodes are lost in a night
WINDOW = 4  # times the blocks that engines work on are at hand


def run_rows(
    config: Config,
    job: RowJob,
    handles: Callable[[], Handles],
    examples: Sequence[Example],
    folder: Location,
    progress: Callable[[int, int], None] | None = None,
    reuse: Reuse | None = None,
) -> tuple[StoredRows, int]:
    """Run `job` over those `examples` that `folder` does not hold yet.

    `handles` is called, and with it models start, only if there is work. Returns the records of the folder, every
    example's among them, and how many were there before or could be taken by `reuse`. `progress` gets (rows finished,
    rows in all).
    """
    wanted = {example.id for example in examples}
    before = finished(folder, wanted)
    todo = [example for example in examples if example.id not in before]
    taken, known = reuse(todo) if reuse and todo else (set(), {})
    todo = [example for example in todo if example.id not in taken]
    if todo:
        failure: list[BaseException] = []
        rows = [(example, example_json(example, known.get(example.id, NOTHING))) for example in todo]
        work = (failure, config, job, handles(), rows, folder, bool(before))
        thread = threading.Thread(target=_guarded, args=work, daemon=True)
        thread.start()
        counter = _Counter(folder, wanted)
        while thread.is_alive():
            thread.join(LOOKS_S[isinstance(folder, Path)])
            counter.look(config.ray.start_timeout_s)
            if progress:
                progress(len(counter.done), len(wanted))
        if failure:
            raise in_one_sentence(f"the run over {len(todo)} rows", failure[0]) from None
    records = read_rows(folder, job.kind)
    if missing := len(wanted - records.keys()):
        raise WbragError(
            f"expected {len(wanted)} finished rows in {folder}, found {missing} missing: run the command again"
        )
    failed = [records.errors[id] for id in wanted & records.errors.keys()]
    if len(failed) == len(wanted) > 1 and alike(failed):
        raise WbragError(f"expected rows to finish, found that every one of {len(failed)} failed: {failed[0]}")
    return records, len(before) + len(taken)


def _guarded(failure: list[BaseException], *arguments: Any) -> None:
    try:
        _execute(*arguments)
    except BaseException as error:
        failure.append(error)


def _execute(
    config: Config,
    job: RowJob,
    handles: Handles,
    examples: Sequence[tuple[Example, str]],
    folder: Location,
    proven: bool,
) -> None:
    """`examples` with their rows as text."""
    output = Output(folder, job.kind)
    generator = handles.generator
    engines = len(generator.pool) if isinstance(generator, RemoteGenerator) else 1
    blocks = _blocks(examples, engines, config.ray.block_rows)
    room = at_once(config.generator.in_flight, config.ray.block_rows)
    place: Place
    if isinstance(generator, RemoteGenerator):
        bare = replace(handles, generator=None)  # type: ignore[arg-type]
        work = Work(output.run, given(job, bare, proven, output))
        place = Dispatcher(generator.pool, work, job, output, config.ray.block_rows, proven)
        up = asyncio.run(generator.pool.up())
        room = max(at_once(generator.pool.in_flight(engine), config.ray.block_rows) for engine in up)
    else:
        place = Here(RowWorker(job, handles, proven, output))
    few = len(examples) <= config.ray.spread_above and config.generator.engines[1] == 1
    if few or len(blocks) == 1:  # nothing to share out, and Ray Data takes seconds to start
        told = asyncio.run(_here(place, blocks, room * engines))
    else:
        told = _spread(place, blocks, room * engines)
    if stops := [stop for stop in told if stop]:
        raise WbragError(stops[0])


def _blocks(examples: Sequence[tuple[Example, str]], engines: int, size: int) -> list[Block]:
    """Blocks of at most `size` rows of one engine each, its first before anybody's second."""
    of: list[list[str]] = [[] for _ in range(engines)]
    for (_, text), home in zip(examples, homes([example for example, _ in examples], engines), strict=True):
        of[home].append(text)
    cut = [
        (start, Block(home, rows[start : start + size]))
        for home, rows in enumerate(of)
        for start in range(0, len(rows), size)
    ]
    return [block for _, block in sorted(cut, key=lambda one: (one[0], one[1].home))]


class Place(Protocol):
    """Where the blocks of a pass are worked on."""

    async def __call__(self, block: Block) -> Told: ...


@dataclass(frozen=True)
class Here:
    """In the process that hands them out, where the generator is no actor."""

    worker: RowWorker

    async def __call__(self, block: Block) -> Told:
        return await self.worker(block.rows)


async def _here(place: Place, blocks: Sequence[Block], at_once: int) -> list[str]:
    """Why each block stops the run; handed out by this process."""
    room = asyncio.Semaphore(at_once)

    async def one(block: Block) -> str:
        async with room:
            return (await place(block)).stop

    return list(await asyncio.gather(*map(one, blocks)))


def _spread(place: Place, blocks: Sequence[Block], at_once: int) -> list[str]:
    """The same, handed out by Ray Data: one process, which Ray starts again with its node."""
    import ray.data  # it takes a second or two

    data_context()
    window = WINDOW * at_once  # an engine's next block is at hand, whichever ends first
    pool = ray.data.ActorPoolStrategy(
        size=1, max_tasks_in_flight_per_actor=window, max_concurrent_calls_per_actor=window
    )
    rows = [{"home": block.home, "rows": block.rows} for block in blocks]
    stage = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        DispatchActor,
        batch_size=None,  # whole blocks
        fn_constructor_args=(place,),
        batch_format="pyarrow",
        compute=pool,
        num_cpus=DISPATCH,
        max_restarts=RESTARTS,
    )
    return [row["stop"] for row in stage.iter_rows()]


class DispatchActor:
    """Hands out the blocks that Ray Data gives it."""

    def __init__(self, place: Place) -> None:
        self.place = place

    async def __call__(self, batch: pa.Table) -> pa.Table:
        blocks = [Block(row["home"], row["rows"]) for row in batch.to_pylist()]
        told = await asyncio.gather(*(self.place(block) for block in blocks))
        return pa.table({"stop": [one.stop for one in told]})


class _Counter:
    """Finished rows of the output folder, each file opened once."""

    def __init__(self, folder: Location, wanted: set[str]) -> None:
        self.folder, self.wanted, self.done, self.files = folder, wanted, set[str](), set[Location]()
        self._since = time.monotonic()  # when the last of them came

    def look(self, limit_s: float) -> None:
        """Raises `WbragError` where nothing came for so long and something has no place on the cluster."""
        before = len(self.done)
        for file in set(listed(self.folder, "*.parquet")) - self.files:
            self.files.add(file)
            self.done |= self.wanted & set(read_file(file, columns=["id"])["id"].to_pylist())
        if len(self.done) > before:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > limit_s and (named := waiting()):
            raise WbragError(
                f"expected rows to be finished, found none for {limit_s:.0f} s, and without a place on the cluster are "
                f"{named}: add nodes, ask for fewer engines, or raise ray.start_timeout_s; what was finished is kept"
            )

"""Row pass: examples -> coroutines, here or in Ray Data's actors -> Parquet, resumable row by row.

The output is the checkpoint: a row is finished when it stands in a Parquet file of the output folder, whose name is
the fingerprint of everything that decides the row. A file appears whole or not at all, so that a killed run can lose
only rows in flight. Ray Data's own checkpoint keeps ids beside the output; this needs no second record to agree with.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from ray.exceptions import RayError, RayTaskError

from wbrag.core.config import Config
from wbrag.core.errors import NoAnswer, WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, listed
from wbrag.core.io.parquet import read_file
from wbrag.core.types import Example
from wbrag.enrich.enrich import NOTHING, Known
from wbrag.enrich.row_files import StoredRows, finished, read_rows, write_rows
from wbrag.enrich.row_jobs import Handles, RowJob
from wbrag.enrich.rows import Kind, example_json, example_of
from wbrag.executor.ray.capacity import waiting
from wbrag.executor.ray.failures import EnginesGone, cause, in_one_sentence
from wbrag.executor.ray.quiet import data_context
from wbrag.executor.ray.shares import ROW_ACTOR

Reuse = Callable[[Sequence[Example]], tuple[set[str], dict[str, Known]]]  # ids of rows written, and what is known else
FULL = 2  # times the engine's room in rows under way: the last rows of a block leave room that others fill
LOOKS_S = {True: 0.5, False: 5.0}  # between looks at the output folder, local or in an object store
RESTARTS = 100  # of one row actor: nodes are lost in a night, but a row that kills its process would do so for ever
ALIKE = 8  # first rows that fail for one reason: no row will do better
UNANSWERED = 8  # rows one after the other without the model's answer, and it is asked whether it is there at all


@dataclass(frozen=True)
class Output:
    """Where finished rows go: one file for each block of rows."""

    folder: Location
    kind: Kind
    run: str = field(default_factory=lambda: uuid4().hex)  # two runs do not touch each other's files

    def name(self, block: Sequence[str]) -> str:
        """Of the file of `block`, whoever works on it: Ray repeats a block whose actor is lost."""
        return f"{self.run}-{fingerprint(*block)}"

    def holds(self, block: Sequence[str]) -> bool:
        return (self.folder / f"{self.name(block)}.parquet").is_file()

    def keep(self, block: Sequence[str], found: Sequence[dict[str, str]]) -> str:
        """Write the finished rows of `block`; returns why the others are not, empty where all are."""
        if finished := [json.loads(row["row"]) for row in found if row["row"]]:
            write_rows(self.folder, self.kind, finished, self.name(block))
        return next((row["stop"] for row in found if not row["row"]), "")


class RowActor:
    """Runs one coroutine per row; whatever a row raises becomes that row's `error`.

    Not so where it is no fault of the row: an actor is gone for good, or `UNANSWERED` rows one after the other got no
    answer from the model, which answers no small question either or (not `proven`) has never finished a row. Then this
    row and those after it come back unfinished, with the reason to `stop` the run.
    """

    def __init__(self, job: RowJob, handles: Handles, proven: bool, output: Output) -> None:
        self.run = job.prepare(handles)
        self.job, self.generator, self.proven, self.output = job, handles.generator, proven, output
        self.unanswered, self.stop, self.failed = 0, "", list[str]()

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """All rows of one block at once, and their file, unless it was written before its actor was lost.

        Returns why the run must `stop`, empty where it need not: the blocks beside this one still write theirs.
        """
        block = batch["example"].to_pylist()
        stop = ""
        if not await asyncio.to_thread(self.output.holds, block):
            found = await asyncio.gather(*(self.row(text) for text in block))
            self._look_alike()
            stop = await asyncio.to_thread(self.output.keep, block, found)
        return pa.table({"stop": [stop or self.stop]})

    async def row(self, text: str) -> dict[str, str]:
        """The record of one example, as JSON in `row`; empty where it is unfinished, and `stop` says why."""
        if self.stop:
            return {"row": "", "stop": self.stop}
        example, known = example_of(text)
        try:
            record = await self.run(example, known)
            self.unanswered, self.proven = 0, True
        except Exception as raised:  # quarantined with its reason; the run goes on
            error = cause(raised) if isinstance(raised, RayTaskError) else raised
            await self._look_beyond(error)
            if self.stop:
                return {"row": "", "stop": self.stop}
            reason = " ".join(str(error).split())[:500]
            self.failed += [] if self.proven else [reason]
            record = self.job.failed(example, f"{type(error).__name__}: {reason}")
        return {"row": json.dumps(record), "stop": ""}

    def _look_alike(self) -> None:
        """Set `stop` where a block is over, no row was ever finished, and all failed for one reason: so would others.

        Not sooner: a prompt that is refused fails at once, and the first that is answered takes its time.
        """
        if not self.proven and len(self.failed) >= ALIKE and _alike(self.failed):
            first = self.failed[0]
            self.stop = f"expected rows to finish, found that the first {len(self.failed)} all failed: {first}"

    async def _look_beyond(self, error: BaseException) -> None:
        """Set `stop` where other rows would fare no better than the one that raised `error`."""
        if isinstance(error, EnginesGone | RayError):
            self.stop = str(in_one_sentence("the run", error))
            return
        self.unanswered = self.unanswered + 1 if isinstance(error, NoAnswer) else 0
        if self.unanswered < UNANSWERED:
            return
        self.unanswered = 0  # rows that fail while the model is asked count anew
        if not (self.proven and await self._answers()):
            self.stop = (
                f"expected answers from the model, found none for {UNANSWERED} rows one after the other ({error}); "
                "what was finished is kept, run it again"
            )

    async def _answers(self) -> bool:
        try:
            await self.generator.start()
        except WbragError:
            return False
        return True


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
        rows = [example_json(example, known.get(example.id, NOTHING)) for example in todo]
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
    if len(failed) == len(wanted) > 1 and _alike(failed):
        raise WbragError(f"expected rows to finish, found that every one of {len(failed)} failed: {failed[0]}")
    return records, len(before) + len(taken)


def _alike(reasons: Sequence[str]) -> bool:
    """Whether all are one reason, up to its numbers."""
    return len({re.sub(r"\d+", "#", reason) for reason in reasons}) == 1


def _guarded(failure: list[BaseException], *arguments: Any) -> None:
    try:
        _execute(*arguments)
    except BaseException as error:
        failure.append(error)


def _execute(
    config: Config, job: RowJob, handles: Handles, rows: Sequence[str], folder: Location, proven: bool
) -> None:
    output = Output(folder, job.kind)
    few = len(rows) <= config.ray.spread_above and config.generator.engines[1] == 1
    if few or len(rows) <= config.ray.block_rows:  # nothing to share out, and Ray Data takes seconds to start
        told = asyncio.run(_here(config, RowActor(job, handles, proven, output), rows))
    else:
        told = _spread(config, job, handles, rows, proven, output)
    if stops := [row["stop"] for row in told if row["stop"]]:
        raise WbragError(stops[0])


def _in_flight(config: Config) -> int:
    """Blocks under way for one engine."""
    return max(2, FULL * config.generator.concurrency // config.ray.block_rows)


async def _here(config: Config, actor: RowActor, rows: Sequence[str]) -> list[dict[str, str]]:
    """What each block came to, all in this process."""
    size, room = config.ray.block_rows, asyncio.Semaphore(_in_flight(config))

    async def block(start: int) -> pa.Table:
        async with room:
            return await actor(pa.table({"example": rows[start : start + size]}))

    tables = await asyncio.gather(*map(block, range(0, len(rows), size)))
    return pa.concat_tables(tables).to_pylist()


def _spread(
    config: Config, job: RowJob, handles: Handles, rows: Sequence[str], proven: bool, output: Output
) -> list[dict[str, str]]:
    """A row actor for every engine, and what each block came to."""
    import ray.data  # it takes a second or two

    data_context()
    size, in_flight = config.ray.block_rows, _in_flight(config)
    # A fixed pool, an actor for every engine: one that may grow never does, since Ray Data only adds actors where more
    # tasks are in flight than can run at once. Rows of engines that are still starting wait in the others' queues.
    pool = ray.data.ActorPoolStrategy(
        size=getattr(handles.generator, "engines", 1),
        max_tasks_in_flight_per_actor=in_flight,
        max_concurrent_calls_per_actor=in_flight,
    )
    blocks = -(-len(rows) // size)  # made here: for Arrow tables Ray starts a process that looks at them
    stage = ray.data.from_items([{"example": row} for row in rows], override_num_blocks=blocks).map_batches(
        RowActor,
        batch_size=None,  # whole blocks
        fn_constructor_args=(job, handles, proven, output),
        batch_format="pyarrow",
        compute=pool,
        num_cpus=ROW_ACTOR,
        max_restarts=RESTARTS,
    )
    return list(stage.iter_rows())


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

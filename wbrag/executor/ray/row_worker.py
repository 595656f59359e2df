"""Row worker: one coroutine per row of a block, beside the engine that they ask, and the block's file.

Whatever a row raises becomes that row's `error`. Not so where it is no fault of the row: then it and those after it
come back unfinished, with the reason to stop the run.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import uuid4

from ray.exceptions import RayError, RayTaskError

from wbrag.core.errors import NoAnswer, WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location
from wbrag.core.types import Example, Generator
from wbrag.enrich.enrich import Known
from wbrag.enrich.row_files import write_rows
from wbrag.enrich.row_jobs import Handles, RowJob
from wbrag.enrich.rows import Kind, example_of
from wbrag.executor.ray.failures import EnginesGone, cause, in_one_sentence

ALIKE = 8  # first rows that fail for one reason: no row will do better
UNANSWERED = 8  # rows one after the other without the model's answer, and it is asked whether it is there at all


class Told(NamedTuple):
    """What a block came to: why the run must `stop`, empty where it need not, and whether a row was ever finished."""

    stop: str = ""
    proven: bool = True


@dataclass(frozen=True)
class Output:
    """Where finished rows go: one file for each block of rows."""

    folder: Location
    kind: Kind
    run: str = field(default_factory=lambda: uuid4().hex)  # two runs do not touch each other's files

    def name(self, block: Sequence[str]) -> str:
        """Of the file of `block`, whoever works on it: a block whose process is lost is repeated."""
        return f"{self.run}-{fingerprint(*block)}"

    def holds(self, block: Sequence[str]) -> bool:
        return (self.folder / f"{self.name(block)}.parquet").is_file()

    def keep(self, block: Sequence[str], found: Sequence[dict[str, str]]) -> str:
        """Write the finished rows of `block`; returns why the others are not, empty where all are."""
        if finished := [json.loads(row["row"]) for row in found if row["row"]]:
            write_rows(self.folder, self.kind, finished, self.name(block))
        return next((row["stop"] for row in found if not row["row"]), "")

    def quarantine(self, job: RowJob, text: str, error: BaseException) -> None:
        """Write a row that failed, as a block of its own."""
        self.keep([text], [failed_row(job, example_of(text)[0], error)])


def failed_row(job: RowJob, example: Example, error: BaseException) -> dict[str, str]:
    record = job.failed(example, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    return {"row": json.dumps(record), "stop": ""}


@dataclass(frozen=True)
class Work:
    """One pass: what its rows are given, sent to every process once."""

    name: str
    given: Sequence[Any]  # one reference to (job, handles without a generator, proven, output)

    async def worker(self, generator: Generator) -> RowWorker:
        """Its worker in this process, beside `generator`."""
        job, handles, proven, output = await self.given[0]
        return RowWorker(job, replace(handles, generator=generator), proven, output)


class RowWorker:
    """Runs the rows of one pass in this process.

    A run stops where an actor is gone for good, or `UNANSWERED` rows one after the other got no answer from the model,
    which answers no small question either or (not `proven`) has never finished a row.
    """

    def __init__(self, job: RowJob, handles: Handles, proven: bool, output: Output) -> None:
        self.run = job.prepare(handles)
        self.job, self.handles, self.proven, self.output = job, handles, proven, output
        self.unanswered, self.stop, self.failed = 0, "", list[str]()

    async def __call__(self, block: Sequence[str], proven: bool = False) -> Told:
        """All rows of one block at once, and their file, unless it was written before its process was lost.

        `proven`: a row of this pass was finished somewhere.
        """
        stop, self.proven = "", self.proven or proven
        if not await asyncio.to_thread(self.output.holds, block):
            rows = [example_of(text) for text in block]
            with self.handles.blocks.of([example.question for example, _ in rows]):
                found = await asyncio.gather(*(self.row(example, known) for example, known in rows))
            self._look_alike()
            stop = await asyncio.to_thread(self.output.keep, block, found)
        return Told(stop or self.stop, self.proven)

    async def row(self, example: Example, known: Known) -> dict[str, str]:
        """The record of one example, as JSON in `row`; empty where it is unfinished, and `stop` says why."""
        if self.stop:
            return {"row": "", "stop": self.stop}
        try:
            record = await self.run(example, known)
            self.unanswered, self.proven = 0, True
        except Exception as raised:  # quarantined with its reason; the run goes on
            error = cause(raised) if isinstance(raised, RayTaskError) else raised
            await self._look_beyond(error)
            if self.stop:
                return {"row": "", "stop": self.stop}
            self.failed += [] if self.proven else [" ".join(str(error).split())[:500]]
            return failed_row(self.job, example, error)
        return {"row": json.dumps(record), "stop": ""}

    def _look_alike(self) -> None:
        """Set `stop` where a block is over, no row was ever finished, and all failed for one reason: so would others.

        Not sooner: a prompt that is refused fails at once, and the first that is answered takes its time.
        """
        if not self.proven and len(self.failed) >= ALIKE and alike(self.failed):
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
            await self.handles.generator.start()
        except WbragError:
            return False
        return True


def alike(reasons: Sequence[str]) -> bool:
    """Whether all are one reason, up to its numbers."""
    return len({re.sub(r"\d+", "#", reason) for reason in reasons}) == 1

"""Whose fault a failure is: a row's own, and it is quarantined, or nobody's, and the run stops. No Ray is started."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError

from tests.support.outcome import rows_of
from wbrag.core.config import load
from wbrag.core.errors import NoAnswer, PromptRefused, WbragError
from wbrag.core.types import Example
from wbrag.enrich.enrich import Known
from wbrag.enrich.row_files import write_rows
from wbrag.enrich.row_jobs import Handles
from wbrag.enrich.rows import example_json, example_of
from wbrag.executor.ray.dispatch import FULL
from wbrag.executor.ray.failures import EnginesGone
from wbrag.executor.ray.row_pass import _Counter, run_rows
from wbrag.executor.ray.row_worker import ALIKE, UNANSWERED, Output, RowWorker
from wbrag.retrieval.blocks import Blocks

DOWN = NoAnswer("the endpoint did not answer")


@dataclass
class Job:
    """Rows that succeed or raise, as `ends` says by id."""

    ends: dict[str, Exception]
    kind: str = "distil"

    def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[dict[str, Any]]]:
        async def run(example: Example, known: Known) -> dict[str, Any]:
            if example.id in self.ends:
                raise self.ends[example.id]
            return {"id": example.id, "question": example.question, "error": ""}

        return run

    def failed(self, example: Example, error: str) -> dict[str, Any]:
        return {"id": example.id, "question": example.question, "error": error}


@dataclass
class Model:
    """What `start` says when it is asked whether the model is there."""

    up: bool
    asked: list[bool] = field(default_factory=list)

    async def start(self) -> None:
        self.asked.append(self.up)
        if not self.up:
            raise DOWN


def handles_of(model: Model) -> Handles:
    return SimpleNamespace(generator=model, blocks=Blocks())  # type: ignore[return-value]


def worker_of(ends: dict[str, Exception], model: Model, output: Any = None, proven: bool = True) -> RowWorker:
    return RowWorker(Job(ends), handles_of(model), proven, output)  # type: ignore[arg-type]


def examples(rows: int) -> list[str]:
    return [example_json(Example(str(n), "who?", ())) for n in range(rows)]


def outcomes(ends: dict[str, Exception], rows: int, model: Model, proven: bool = True) -> list[dict[str, str]]:
    """What the worker makes of rows 0, 1, ... one after the other."""
    worker = worker_of(ends, model, proven=proven)

    async def main() -> list[dict[str, str]]:
        return [await worker.row(*example_of(example)) for example in examples(rows)]

    return asyncio.run(main())


def down(*ids: int) -> dict[str, Exception]:
    return {str(id): DOWN for id in ids}


def test_a_dead_model_stops_the_run_and_keeps_what_was_finished(tmp_path: Path) -> None:
    model = Model(up=False)
    found = outcomes(down(*range(2, 400)), 400, model)
    assert [bool(row["row"]) for row in found] == [True] * (1 + UNANSWERED) + [False] * (399 - UNANSWERED)
    assert model.asked == [False], "asked once, when enough rows had failed"
    told = Output(tmp_path, "distil").keep(examples(400), found)
    assert "8 rows one after the other (the endpoint did not answer); what was finished" in told
    kept = rows_of(tmp_path)
    assert {id for id, row in kept.items() if not row["error"]} == {"0", "1"} and len(kept) == 1 + UNANSWERED


def test_a_model_that_answers_others_is_not_to_blame() -> None:
    model = Model(up=True)
    found = outcomes(down(*range(2, 40)), 42, model)
    assert all(row["row"] for row in found) and len(model.asked) == 38 // UNANSWERED


def test_a_model_that_never_finished_a_row_is() -> None:
    assert outcomes(down(*range(40)), 40, Model(up=True), proven=False)[-1]["stop"]
    assert not outcomes(down(*range(40)), 40, Model(up=True), proven=True)[-1]["stop"], "an earlier run finished some"


def refused(*texts: str) -> dict[str, Exception]:
    return {str(n): PromptRefused(text) for n, text in enumerate(texts)}


def block(ends: dict[str, Exception], rows: int, folder: Path, proven: bool = False) -> tuple[str, int]:
    """Why a block stops the run, and how many of its rows were kept."""
    worker = worker_of(ends, Model(up=True), Output(folder, "distil"), proven)
    return asyncio.run(worker(examples(rows))).stop, len(rows_of(folder))


def test_first_rows_that_fail_for_one_reason_stop_the_run(tmp_path: Path) -> None:
    texts = [f"expected a prompt of at most 64 tokens, found {900 + n}: raise max_model_len" for n in range(16)]
    stop, kept = block(refused(*texts), 16, tmp_path / "a")
    assert stop.startswith("expected rows to finish, found that the first 16 all failed") and "max_model_len" in stop
    assert kept == 16, "with their reasons"
    assert block(refused(*texts), 16, tmp_path / "b", proven=True)[0] == "", "an earlier run finished some"
    assert block(refused(*texts[:15]), 16, tmp_path / "c")[0] == "", "one was finished, however late"
    assert block(refused(*texts[: ALIKE - 1]), ALIKE - 1, tmp_path / "d")[0] == "", "too few to say"


def test_rows_that_fail_for_reasons_of_their_own_do_not(tmp_path: Path) -> None:
    assert block(refused(*(f"no {chr(97 + n)} in this text" for n in range(16))), 16, tmp_path)[0] == ""


def test_a_run_of_which_every_row_failed_alike_is_no_finished_run(tmp_path: Path) -> None:
    asked = [Example(str(n), "who?", ()) for n in range(3)]
    handles = handles_of(Model(up=True))
    job = Job({str(n): PromptRefused(f"refused {n}") for n in range(3)})
    with pytest.raises(WbragError, match="every one of 3 failed: PromptRefused: refused"):
        run_rows(load(), job, lambda: handles, asked, tmp_path)  # type: ignore[arg-type]
    assert len(rows_of(tmp_path)) == 3, "kept with their reasons, and tried again"


@pytest.mark.parametrize("between", [None, PromptRefused("too long")])
def test_only_rows_one_after_the_other_count(between: Exception | None) -> None:
    ends = down(*(n for n in range(60) if n % UNANSWERED))
    ends |= {str(n): between for n in range(60) if between and n % UNANSWERED == 0}
    model = Model(up=False)
    assert not any(row["stop"] for row in outcomes(ends, 60, model)) and not model.asked


@pytest.mark.parametrize("end", [EnginesGone("every engine is gone"), ActorUnavailableError("the shard is gone", None)])
def test_an_actor_that_is_gone_for_good_is_no_rows_fault(end: Exception) -> None:
    found = outcomes({"1": end}, 3, Model(up=True))
    assert [bool(row["row"]) for row in found] == [True, False, False] and "gone" in found[1]["stop"]


def test_a_remote_error_is_quarantined_by_its_own_name() -> None:
    error = RayTaskError("ask", "ray::EngineActor.ask() (pid=1)\n a long traceback", PromptRefused("too long"))
    [row] = outcomes({"0": error.as_instanceof_cause()}, 1, Model(up=True))
    assert json.loads(row["row"])["error"] == "PromptRefused: too long"


def test_a_block_that_ray_repeats_is_not_worked_on_again_and_two_runs_do_not_touch(tmp_path: Path) -> None:
    block, output = examples(2), Output(tmp_path, "distil")
    assert asyncio.run(worker_of({}, Model(up=True), output)(block)).stop == ""
    whole = rows_of(tmp_path)
    # as after a SIGKILL between the renaming and the task's end, of the engines too
    again = worker_of({"1": EnginesGone("every engine is gone")}, Model(up=False), output)
    assert asyncio.run(again(block)).stop == ""
    assert rows_of(tmp_path) == whole and len(whole) == 2
    asyncio.run(worker_of({}, Model(up=True), Output(tmp_path, "distil"))(block))
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    with pytest.raises(AssertionError, match="doubled"):
        rows_of(tmp_path)


def test_a_block_that_is_stopped_halfway_keeps_its_finished_rows(tmp_path: Path) -> None:
    worker = worker_of({"2": EnginesGone("every engine is gone")}, Model(up=True), Output(tmp_path, "distil"))
    assert asyncio.run(worker(examples(3))).stop == "every engine is gone"
    assert set(rows_of(tmp_path)) == {"0", "1"}


def test_a_short_pass_writes_every_block_and_keeps_the_engine_full(tmp_path: Path) -> None:
    config = load(ray={"block_rows": 4}, generator={"concurrency": 6})
    under_way, most = 0, 0

    @dataclass
    class Slow(Job):
        def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[dict[str, Any]]]:
            run, full = super().prepare(handles), asyncio.Event()

            async def slow(example: Example, known: Known) -> dict[str, Any]:
                nonlocal under_way, most
                under_way += 1
                most = max(most, under_way)
                if under_way == 12:
                    full.set()
                await asyncio.wait_for(full.wait(), 60)
                under_way -= 1
                return await run(example, known)

            return slow

    asked = [Example(str(n), "who?", ()) for n in range(50)]
    handles = handles_of(Model(up=True))
    rows, before = run_rows(config, Slow({}), lambda: handles, asked, tmp_path)  # type: ignore[arg-type]
    assert set(rows) == {e.id for e in asked} and before == 0
    assert len(list(tmp_path.glob("*.parquet"))) == 13 and most == FULL * 6 == 12


def test_a_short_pass_that_stops_keeps_what_was_finished(tmp_path: Path) -> None:
    config = load(ray={"block_rows": 4}, generator={"concurrency": 6})
    finished: set[str] = set()

    @dataclass
    class Doomed(Job):
        def prepare(self, handles: Handles) -> Callable[[Example, Known], Awaitable[dict[str, Any]]]:
            run, others = super().prepare(handles), asyncio.Event()

            async def late(example: Example, known: Known) -> dict[str, Any]:
                if example.id == "5":
                    await asyncio.wait_for(others.wait(), 60)
                record = await run(example, known)
                finished.add(example.id)
                if finished >= set("01234"):
                    others.set()
                return record

            return late

    asked = [Example(str(n), "who?", ()) for n in range(8)]
    handles = handles_of(Model(up=True))
    job = Doomed({"5": EnginesGone("every engine is gone")})
    with pytest.raises(WbragError, match="every engine is gone"):
        run_rows(config, job, lambda: handles, asked, tmp_path)  # type: ignore[arg-type]
    assert set(rows_of(tmp_path)) == finished >= set("01234") and "5" not in finished


def test_rows_that_have_no_place_on_the_cluster_are_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    monkeypatch.setattr("wbrag.executor.ray.row_pass.waiting", lambda: " and ".join(named))
    counter, row = _Counter(tmp_path, {"a", "b"}), {"id": "a", "question": "?", "error": ""}
    counter.look(0.0)  # nothing is pending: a slow model is not an error
    named.append("2 of MapWorker")
    with pytest.raises(WbragError, match="without a place on the cluster are 2 of MapWorker: add nodes"):
        counter.look(0.0)
    counter.look(60.0)
    write_rows(tmp_path, "evaluate", [row])
    counter.look(0.0)
    assert counter.done == {"a"}

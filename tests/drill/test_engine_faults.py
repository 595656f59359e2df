"""Processes killed while rows are worked on: all comes out as in an unbroken run, and only poison is left out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support.deadly import POISON, DeadlyEngine, DeadlyRows, Mortal, Stillborn
from tests.support.outcome import assert_same, rows_of
from tests.support.pipeline import ITEMS, reader
from wbrag.core.errors import WbragError
from wbrag.executor.ray import session

if TYPE_CHECKING:  # a plugin is imported by pytest
    from tests.support.enriching import Place

pytestmark = [pytest.mark.integration, pytest.mark.drill]
pytest_plugins = ["tests.support.enriching"]


def kill_one(actor: str) -> int:
    """SIGKILL to a worker process of this machine's Ray that runs `actor`; its pid."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::") and actor in process.cmdline()[0]:
                process.kill()
                return process.pid
    raise AssertionError(f"no process runs {actor}")


def killing(kills: dict[int, str], killed: list[int]) -> Callable[[list[dict[str, str]]], str]:
    """The endpoint's answers; at the n-th a process of the actor that `kills` names for it is killed."""
    asked = count()

    def reply(messages: list[dict[str, str]]) -> str:
        if (actor := kills.get(next(asked))) is not None:
            killed.append(kill_one(actor))
        return reader(messages)

    return reply


@pytest.mark.parametrize(
    ("engines", "kills"),
    [
        (1, {40: "EngineActor"}),
        (2, {30: "EngineActor", 60: "DispatchActor", 90: "EncoderActor", 110: "ShardActor", 130: "EngineActor"}),
    ],
    ids=["the engine", "one of everything"],
)
def test_killed_processes_cost_no_row(
    folder: Path, place: Place, unbroken: Path, engines: int, kills: dict[int, str]
) -> None:
    killed: list[int] = []
    place.server.reply = killing(kills, killed)
    assert place.enrich(folder, engines=engines) == (0, 0)
    assert len(set(killed)) == len(kills) and not any(map(psutil.pid_exists, killed))
    assert_same(folder / "verdicts", unbroken)


@pytest.mark.parametrize("deadly", [DeadlyEngine, DeadlyRows], ids=["its prompt", "its row"])
@pytest.mark.parametrize(("engines", "block_rows"), [(1, 64), (2, 4)], ids=["one engine, no Ray Data", "two engines"])
def test_a_poison_row_is_quarantined_alone(
    folder: Path,
    place: Place,
    unbroken: Path,
    monkeypatch: pytest.MonkeyPatch,
    engines: int,
    block_rows: int,
    deadly: Any,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(session, "EngineActor", deadly)
        assert place.enrich(folder, engines=engines, block_rows=block_rows) == (0, 1)
    [poison] = [row for row in rows_of(folder / "verdicts").values() if row["error"]]
    assert poison["id"] == f"q{POISON:02d}"
    assert "3 deaths of its process with nothing else at work than this row" in poison["error"]
    assert_same(folder / "verdicts", unbroken, but=[poison["id"]])

    assert place.enrich(folder) == (len(ITEMS) - 1, 0), "the row is tried again by the next run, and only that one"
    assert_same(folder / "verdicts", unbroken)


@pytest.mark.parametrize(
    ("engine", "said"), [(Stillborn, "the start of the engines"), (Mortal, "its process dies each time")]
)
def test_engines_that_start_no_more_end_the_run(
    folder: Path, place: Place, unbroken: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, said: str
) -> None:
    monkeypatch.setenv("WBRAG_WORKSPACE", str(folder))
    place.server.reply = killing({150: "Mortal"}, [])
    with monkeypatch.context() as patched:
        patched.setattr(session, "EngineActor", engine)
        with pytest.raises(WbragError, match=said) as caught:
            place.enrich(folder)
    assert "\n" not in str(caught.value)
    place.server.reply = reader
    kept = rows_of(folder / "verdicts")
    assert not any(row["error"] for row in kept.values()), "an engine's end was blamed on a row"
    assert place.enrich(folder) == (len(kept), 0)
    assert_same(folder / "verdicts", unbroken)

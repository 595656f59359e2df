"""A process killed just before, just after and inside each write of each step from the shelf to a release.

The writes are not hand-picked: an unbroken run counts them. After each death the workspace must be whole and its
current release must answer; the step, done again, must end where the unbroken run ended. The fast lane draws one write
of each step, the slow one five of the long steps and all of the others, the drill takes every one; WBRAG_FAULT_SEED
draws others.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.life import RELEASING, URL
from tests.support.mortal import Kill, Mortals, Side, Write
from tests.support.openai_server import OpenAIServer

pytestmark = pytest.mark.integration
LIFE = {name: step for name, step in RELEASING.items() if name != "other sources"}  # which is no step of wbrag's
SAMPLED = {"retirement", "index", "stale units", "refresh", "one shard again"}
SEED = int(os.environ.get("WBRAG_FAULT_SEED", 20261129))


class Stage(NamedTuple):
    """One step of the life: the workspace before it, what is in it before and after, and the step's writes."""

    folder: Path
    before: dict[str, Any]
    after: dict[str, Any]
    writes: list[Write]


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with Mortals("tests.support.life") as running:
        yield running


@pytest.fixture(scope="module")
def stages(mortals: Mortals, endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    """The whole life, unbroken, with a copy of the workspace before each step."""
    root = tmp_path_factory.mktemp("life")
    folder, found = root / "unbroken", {}
    mortals.run("make", folder=str(folder))
    mortals.run("use", folder=str(folder), first=0, last=3)
    for name, (step, arguments) in RELEASING.items():
        shutil.copytree(folder, root / name)
        before = mortals.run("portrait", folder=str(folder)).value
        writes = mortals.run(step, folder=str(folder), **filled(arguments, endpoint)).writes
        found[name] = Stage(root / name, before, mortals.run("portrait", folder=str(folder)).value, writes)
    return found


def filled(arguments: dict[str, Any], endpoint: OpenAIServer) -> dict[str, Any]:
    return {name: endpoint.url if value == URL else value for name, value in arguments.items()}


def test_the_kernel_kills_inside_a_commit(stages: dict[str, Stage], mortals: Mortals, tmp_path: Path) -> None:
    """The tests' own tool: a release stands from the moment its log entry has its name, and not before."""
    sides: tuple[Side, ...] = ("before", "rename", "link", "unlink", "after")
    for side in sides:
        folder = shutil.copytree(stages["rollback"].folder, tmp_path / side)
        assert mortals.run("rollback", Kill(0, side), folder=str(folder), release="r0001").killed
        stands = len(mortals.run("portrait", folder=str(folder)).value["releases"]) == 3
        assert stands == (side in ("unlink", "after")), side


def drawn(name: str, kills: list[Kill], share: str) -> list[Kill]:
    points = {"one": 1, "some": 5 if name in SAMPLED else len(kills), "all": len(kills)}[share]
    print(f"{points} of {len(kills)} points, WBRAG_FAULT_SEED={SEED}")
    return random.Random(f"{SEED} {name}").sample(kills, min(points, len(kills)))


@pytest.mark.parametrize(
    "share", ["one", pytest.param("some", marks=pytest.mark.slow), pytest.param("all", marks=pytest.mark.drill)]
)
@pytest.mark.parametrize("name", LIFE)
def test_a_crash_at_a_write(
    name: str, share: str, stages: dict[str, Stage], mortals: Mortals, endpoint: OpenAIServer, tmp_path: Path
) -> None:
    stage, (step, arguments) = stages[name], LIFE[name]
    kills = [Kill(n, side) for n, write in enumerate(stage.writes) for side in write.sides]
    assert kills, "the step writes nothing"

    def crash(kill: Kill) -> None:
        folder, more = str(tmp_path / f"{kill.n}-{kill.side}"), filled(arguments, endpoint)
        shutil.copytree(stage.folder, folder)
        where = f"killed {kill.side} write {kill.n} of {name}, {stage.writes[kill.n].what}"
        assert mortals.run(step, kill, folder=folder, **more).killed, where
        broken, mended = mortals.run("again", folder=folder, verb=step, arguments=more).value
        assert broken["releases"] in (stage.before["releases"], stage.after["releases"]), where
        strays = mended.pop("strays")
        assert mended == stage.after, where
        assert not any(name in stray for stray in strays for name in ("/.units-", "/.writeback-")), f"{where}: {strays}"
        shutil.rmtree(folder)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(crash, drawn(name, kills, share)))

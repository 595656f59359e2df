"""A clock that jumps, between and within operations: what comes later is told by numbers, never by a time."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from deltalake import DeltaTable
from starlette.testclient import TestClient

from tests.support.desk import desk, workspace
from tests.support.hostless import open_life
from tests.support.library import published
from tests.support.life import RELEASING, URL
from tests.support.mortal import Mortals
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import reader
from tests.support.serving import browse
from wbrag.retrieval.external.source_cache import load_passages, save_passages
from wbrag.serving.keys import Keys
from wbrag.serving.prometheus import age_s
from wbrag.units.audit import changes
from wbrag.units.decisions import Decisions
from wbrag.units.usage import Feedback, Usage

pytestmark = pytest.mark.integration
YEARS = 3650.0
DAYS = (0.0, YEARS, -YEARS, 1.0, -1.0)  # how fast the clock is, from one look to the next
SEED = int(os.environ.get("WBRAG_FAULT_SEED", 20261129))


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with Mortals("tests.support.life") as running:
        yield running


def date_anew(folder: Path, draw: random.Random) -> None:
    """Give every file a time of its own, up to ten years off."""
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        at = time.time() + 86400 * draw.uniform(-YEARS, YEARS)
        os.utime(file, (at, at))


@pytest.mark.slow
def test_a_life_under_a_jumping_clock_ends_as_under_a_steady_one(mortals: Mortals, tmp_path: Path) -> None:
    print(f"WBRAG_FAULT_SEED={SEED}")
    draw = random.Random(SEED)
    steady, jumping = tmp_path / "steady", tmp_path / "jumping"
    mortals.run("make", folder=str(steady))
    shutil.copytree(steady, jumping)
    with OpenAIServer(reply=reader) as server:
        for name, (step, arguments) in RELEASING.items():
            arguments = {key: server.url if value == URL else value for key, value in arguments.items()}
            days = draw.sample(DAYS, len(DAYS))
            mortals.run(step, folder=str(steady), **arguments)
            mortals.run("under", folder=str(jumping), days=days, verb=step, arguments=arguments)
            date_anew(jumping, draw)
            with ThreadPoolExecutor(2) as pool:
                one, other = pool.map(
                    lambda folder: mortals.run("portrait", folder=str(folder)).value, (steady, jumping)
                )
            assert one == other, f"{name}, the clock fast by {days} days"
    life = open_life(str(jumping))
    told = [change.what for change in changes(life)]
    releases = [what for what in told if what.startswith("r0")]
    assert releases == [r.id for r in life.releases.all()], "the audit tells releases in another order"
    ages = [age_s(release) for release in life.releases.all()]
    assert all(age >= 0 for age in ages) and math.isnan(age_s(None))
    assert len({r.created_at[:3] for r in life.releases.all()}) > 1, "the clock did not jump"


def test_the_last_decision_counts_whatever_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = Decisions(tmp_path / "decisions")
    for days, state in ((0, "approved"), (YEARS, "retired"), (-YEARS, "approved"), (-1, "retired"), (1, "candidate")):

        class Jumped(datetime):
            @classmethod
            def now(cls, tz=None, days=days):  # type: ignore[no-untyped-def, override]
                return datetime.now(tz) + timedelta(days=days)

        monkeypatch.setattr("wbrag.units.decisions.datetime", Jumped)
        decisions.decide(["wb-1"], state, by="ana", why="")
        assert decisions.states() == {"wb-1": state}
    assert [d.state for d in decisions.all()] == ["approved", "retired", "approved", "retired", "candidate"]
    assert len({d.at[:4] for d in decisions.all()}) > 2


def test_the_last_word_on_an_answer_counts_whatever_its_time(tmp_path: Path) -> None:
    usage, now = Usage(tmp_path), datetime.now(UTC)
    for days, rating in ((0, -1), (YEARS, 1), (-YEARS, -1)):
        usage.add(feedback=[Feedback("a", (now + timedelta(days=days)).isoformat(), "", rating)])
        assert usage.ratings()["a"].rating == rating


def test_the_last_retrieval_of_an_outside_passage_counts_whatever_its_files_time(tmp_path: Path) -> None:
    for days, (run, text) in enumerate((("one", "a"), ("two", "b"), ("one", "c"))):
        save_passages(tmp_path, run, [{"source_passages": [{"id": "p", "title": "t", "text": text}]}])
        for file in tmp_path.glob(f"*{run}.parquet"):
            os.utime(file, (1e9 - 86400 * days,) * 2)
        assert load_passages(tmp_path, ["p"])["p"].text == text
    assert len(list(tmp_path.iterdir())) == 2, "an older file of a run was left"


def test_a_version_that_a_release_pins_is_kept_ten_years(mortals: Mortals, tmp_path: Path) -> None:
    """delta-rs clears its log of what its file times make old, at every so many commits."""
    folder = str(tmp_path)
    mortals.run("make", folder=folder)
    mortals.run("shelve", folder=folder, first=0, last=2)
    life = open_life(folder)
    DeltaTable(str(life.shelf.folder)).alter.set_table_properties({"delta.checkpointInterval": "2"})
    release = published(life)
    for number in range(2, 8):
        for file in life.shelf.folder.rglob("*.json"):
            os.utime(file, (time.time() - 86400 * YEARS,) * 2)
        mortals.run("shelve", folder=folder, first=number, last=number + 1)
    assert any(life.shelf.folder.rglob("*.checkpoint.parquet"))
    assert {s.unit.title for s in open_life(folder).shelf.read(version=release.units_version)} == {
        "amberlamp",
        "ambergate",
    }


def test_units_that_a_fast_clock_made_stale_come_back(mortals: Mortals, tmp_path: Path) -> None:
    """Age is the one thing that the clock decides (`checks.ttl_days`); what a wrong one did is undone by a refresh."""
    folder, ttl = str(tmp_path), {"checks": {"ttl_days": 30.0}}
    with OpenAIServer(reply=reader) as server:
        mortals.run("make", folder=folder)
        mortals.run("enrich", folder=folder, url=server.url, limit=6)
        mortals.run("publish", folder=folder, policy="auto", **ttl)
        [first] = mortals.run("portrait", folder=folder).value["releases"]
        mortals.run("under", folder=folder, days=[-YEARS], verb="publish", arguments=ttl)
        assert len(mortals.run("portrait", folder=folder).value["releases"]) == 1, "a clock set back made units stale"
        mortals.run("under", folder=folder, days=[YEARS], verb="publish", arguments=ttl)
        assert mortals.run("portrait", folder=folder).value["releases"][-1]["held"] == []
        mortals.run("refresh", folder=folder, url=server.url, **ttl)
        mortals.run("publish", folder=folder, policy="auto", **ttl)
        last = mortals.run("portrait", folder=folder).value["releases"][-1]
    assert (last["number"], last["held"]) == (3, first["held"]) and first["held"]


@pytest.mark.parametrize("days", [YEARS, -YEARS, 1.0, -1.0])
def test_a_session_of_another_time_asks_for_the_key_again(
    days: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cookie is signed with the time: one of the future counts as little as one that is too old."""
    key = Keys(tmp_path).add("ada", "admin")

    def entered(client: TestClient) -> int:
        [token] = re.findall(r'name="csrf" value="([^"]+)"', client.get("/desk/login").text)
        sent = {"csrf": token, "key": key, "back": "/desk"}
        assert client.post("/desk/login", data=sent, follow_redirects=False).status_code == 303
        return client.get("/desk", follow_redirects=False).status_code

    with browse(desk(workspace(tmp_path)).app, "127.0.0.1") as client:
        assert entered(client) == 200
        monkeypatch.setattr("itsdangerous.timed.time", SimpleNamespace(time=lambda: time.time() + 86400 * days))
        assert client.get("/desk", follow_redirects=False).headers["location"].startswith("/desk/login")
        assert entered(client) == 200

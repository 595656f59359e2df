"""The life of units: checks, decisions, canary, freshness, learning, rollback and the audit, on every host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.hosts import Host
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS
from wbrag.core.errors import UsageError, WbragError
from wbrag.units.audit import changes
from wbrag.units.governance import Governance
from wbrag.units.usage import Feedback, Served
from wbrag.workspace import Workspace

pytestmark = pytest.mark.integration


def edit_corpus(workspace: Path, change: dict[str, dict[str, Any] | None]) -> None:
    """Rewrite passages of the corpus (None: take them out), as another `wbrag ingest corpus` would."""
    [file] = (workspace / "corpus").glob("*.parquet")
    table = pq.read_table(file)
    rows = [row | (change.get(row["id"]) or {}) for row in table.to_pylist() if change.get(row["id"], {}) is not None]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)


def test_units_are_checked_approved_retired_and_refreshed(copy: Path, endpoint: OpenAIServer, host: Host) -> None:
    with host.workspace(copy, endpoint) as w:
        assert w.enrich("toy/train", limit=10)["units_new"] > 0
        units = [s.unit for s in w.shelf.read()]
        examined = w.results.latest(w.shelf.ids())
        assert all(examined[u.id].passed for u in units), {u.text: examined[u.id].failed for u in units}
        assert all({c.name for c in examined[u.id].results} == set(w.config.checks.enabled) for u in units)
        assert all(u.scores["s_unit"] == u.scores["s_kept"] == 1.0 for u in units)

        with pytest.raises(WbragError, match="approve units"):
            w.publish(policy="manual")
        chosen, other = units[0].id, units[1].id
        assert w.decide([chosen, other], "approved", by="ana", why="read them") == 2
        one = w.publish("two of them", by="ana", policy="manual")
        assert (one.units, one.by) == (2, "ana") and Governance(w).ids_in(one) == {chosen, other}
        two = w.publish()
        assert two.units == len(units) and w.decisions.states()[units[2].id] == "approved"
        assert w.check()["checked"] == 0, "what was examined under the same settings was examined again"

        w.decide([chosen], "retired", by="ana", why="no longer so")
        three = w.publish()
        assert three.units == len(units) - 1 and chosen not in Governance(w).ids_in(three)
        assert Governance(w).compare(two.id, three.id).removed == (chosen,)
        with pytest.raises(UsageError, match="wb-none"):
            w.decide(["wb-none"], "approved", by="ana", why="")

        back = w.rollback(two.id, by="ben", why="too early")
        assert Governance(w).ids_in(back) == Governance(w).ids_in(two)
        told = [(c.by, c.action, c.what) for c in changes(w)]
        assert ("ana", "approved to retired", chosen) in told and ("ben", "rollback r0002", back.id) in told

        refresh_after_a_change(w, copy)


def refresh_after_a_change(w: Workspace, folder: Path) -> None:
    """One source says another code now, another one is gone; only these units are distilled again."""
    standing = {s.unit.id: s.unit for s in w.shelf.read() if w.decisions.states()[s.unit.id] == "approved"}
    assert w.refresh() == {
        "stale": 0, "retired": 0, "distilled": 0, "without_question": 0, "units_new": 0, "units_merged": 0
    }  # fmt: skip
    alone = [u for u in standing.values() if len(u.sources) == 1]
    changed, gone = alone[0], alone[1]
    before = w.passages([id for id, _ in changed.sources])
    [number] = [i for i, item in enumerate(ITEMS) if item == changed.title]
    edit_corpus(folder, {
        changed.sources[0][0]: {"text": f"The code of {changed.title} is z{number}."}, gone.sources[0][0]: None
    })  # fmt: skip
    w.index()
    found = w.refresh()
    assert (found["stale"], found["retired"], found["distilled"], found["units_new"]) == (2, 1, 1, 1)
    assert w.decisions.states()[changed.id] == w.decisions.states()[gone.id] == "retired"
    [new] = [s.unit for s in w.shelf.read() if s.unit.text == f"The code of {changed.title} is z{number}."]
    assert new.question_ids == changed.question_ids[:1] and new.sources[0][1] != changed.sources[0][1]
    assert w.refresh()["stale"] == 0
    assert w.results.latest([new.id])[new.id].results, "a unit that was distilled again was not checked"
    assert "s_unit" in new.scores

    edit_corpus(folder, {changed.sources[0][0]: {"text": before[changed.sources[0][0]].text}})
    w.index()
    assert w.publish().units == len(standing) - 2, "a unit whose source changed again was published"
    back = w.refresh()
    assert (back["retired"], back["distilled"], back["units_new"]) == (0, 1, 0)
    assert (w.decisions.states()[changed.id], w.decisions.states()[new.id]) == ("candidate", "retired")
    assert w.results.latest([changed.id])[changed.id].passed


def test_the_canary_stops_a_release_that_answers_worse(copy: Path, endpoint: OpenAIServer, host: Host) -> None:
    with host.workspace(copy, endpoint, canary={"examples": "toy/train"}) as w:
        w.enrich("toy/train")
        good = w.publish()
        report = json.loads(good.canary)
        assert report["passed"] and report["n"] == len(ITEMS) and report["against"] == "none"
        units = [s.unit for s in w.shelf.read()]
        w.decide([u.id for u in units], "retired", by="ana", why="to see what it does")
        if report["gain"] > 0.3:  # enough lost questions for a test to tell
            with pytest.raises(WbragError, match="expected held-out accuracy not to fall"):
                w.publish()
            assert w.releases.all() == [good], "a refused release was published"
        else:
            assert w.publish().units == 0


def test_liked_answers_become_candidates_that_a_person_decides_on(
    copy: Path, endpoint: OpenAIServer, host: Host
) -> None:
    item = ITEMS[3]
    answers = {
        "good": ("k3", ["p3"], ["base"]),
        "invented": ("k999", ["p3"], ["base"]),
        "from-a-unit": ("k3", ["wb-1"], ["writeback"]),
        "disliked": ("k3", ["p3"], ["base"]),
    }
    with host.workspace(copy, endpoint, learn={"enabled": True, "novelty": 0.999}) as w:
        asked = f"What is the code of {item}?"
        rows = [
            Served(
                name,
                f"2026-01-01T00:00:0{i}",
                "",
                "none",
                "naive",
                "qa",
                asked,
                text,
                tuple(ids),
                tuple(origins),
                (0.9,),
                0.1,
            )
            for i, (name, (text, ids, origins)) in enumerate(answers.items())
        ]
        ratings = [Feedback(name, "2026-01-02", "", -1 if name == "disliked" else 1) for name in answers]
        w.usage.add(rows, ratings)
        assert w.learn() == {"answers": 4, "not_liked": 1, "candidates": 1, "rejected": 2}
        assert w.learn()["candidates"] == 0, "an answer was learned from twice"
        [learned] = w.shelf.read()
        assert item in learned.unit.text and learned.unit.question_ids == ("good",)
        with pytest.raises(WbragError, match="approved"):  # the policy `auto` leaves it to a person
            w.publish()
        w.decide([learned.unit.id], "approved", by="ana", why="true")
        assert w.publish().units == 1
        why = {c.what: c.why for c in changes(w) if c.action == "learn: rejected"}
        assert set(why) == {"invented", "from-a-unit"} and "grounds the answer" in why["invented"]
    with host.workspace(copy, endpoint) as w, pytest.raises(UsageError, match="learn.enabled"):
        w.learn()

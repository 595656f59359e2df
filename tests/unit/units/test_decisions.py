from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import UsageError
from wbrag.core.io.mend import mend
from wbrag.units.decisions import NEXT, STATES, Decisions, State


def test_a_units_life_is_a_row_a_step(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "decisions")
    assert decisions.all() == [] and decisions.states() == {}
    decisions.decide(["a", "b"], "approved", by="wbrag", why="passed every check", policy="checks")
    [step] = decisions.decide(["a"], "retired", by="ana", why="out of date")
    assert (step.before, step.state, step.by, step.policy) == ("approved", "retired", "ana", "person")
    assert decisions.states() == {"a": "retired", "b": "approved"}
    assert [(d.unit_id, d.state, d.number) for d in decisions.all()] == [
        ("a", "approved", 1),
        ("b", "approved", 1),
        ("a", "retired", 2),
    ]


def test_deciding_the_same_again_leaves_no_row(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "decisions")
    decisions.decide(["a", "a"], "approved", by="ana", why="read it")
    assert decisions.decide(["a"], "approved", by="ben", why="me too") == []
    assert len(decisions.all()) == 1


def test_a_step_that_is_none_is_refused_whole(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "decisions")
    decisions.decide(["a"], "approved", by="ana", why="read it")
    with pytest.raises(UsageError, match="expected b to become approved or rejected or stale, found 'retired'"):
        decisions.decide(["a", "b"], "retired", by="ana", why="old")
    assert decisions.states() == {"a": "approved"}, "half of a refused decision was written"
    with pytest.raises(UsageError, match="state"):
        decisions.decide(["a"], "gone", by="ana", why="")  # type: ignore[arg-type]


def test_a_policy_leaves_alone_what_was_decided_meanwhile(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "decisions")
    decisions.decide(["a"], "rejected", by="ana", why="wrong")
    steps = decisions.decide(["a", "b"], "approved", by="wbrag", why="", policy="checks", only=["candidate"])
    assert [step.unit_id for step in steps] == ["b"] and decisions.states()["a"] == "rejected"


@given(st.lists(st.sampled_from(STATES), max_size=8))
def test_history_leads_to_the_state(tmp_path_factory: pytest.TempPathFactory, wanted: list[State]) -> None:
    decisions = Decisions(tmp_path_factory.mktemp("life") / "decisions")
    state: State = "candidate"
    for step in wanted:
        try:
            decisions.decide(["u"], step, by="ana", why="")
            assert step == state or step in NEXT[state]
            state = step
        except UsageError:
            assert step not in NEXT[state]
    assert decisions.states().get("u", "candidate") == state
    history = decisions.all()
    assert all(later.before == earlier.state for earlier, later in pairwise(history))


def test_each_unit_may_have_a_reason_of_its_own_in_one_commit(tmp_path: Path) -> None:
    """A commit a reason reads the log once each: 1,000 units whose sources changed took a quarter of an hour."""
    decisions = Decisions(tmp_path / "decisions")
    why = {"a": "source p1 changed", "b": "source p2 is gone"}
    decisions.decide(["b", "a"], "stale", by="wbrag", why=why, policy="freshness")
    assert decisions.log.version == 0 and {d.unit_id: d.why for d in decisions.all()} == why
    assert decisions.latest(["a", "c"]).keys() == {"a"} and [d.why for d in decisions.over(["b"])] == [why["b"]]


def test_a_power_loss_while_the_log_is_put_in_few_files_doubles_no_row(tmp_path: Path) -> None:
    """The rows of the lost commit are those that earlier commits have already."""
    decisions = Decisions(tmp_path / "decisions")
    for id in ("a", "b", "c"):
        decisions.decide([id], "approved", by="ana", why="read it")
    assert decisions.log.tidy(files=2)
    commits = sorted((tmp_path / "decisions" / "_delta_log").glob("*.json"))
    lost = next(file for file in commits if '"remove"' in file.read_text(encoding="utf-8"))
    lost.write_text("", encoding="utf-8")
    assert mend(tmp_path / "decisions") is not None
    assert [d.unit_id for d in Decisions(tmp_path / "decisions").all()] == ["a", "b", "c"]

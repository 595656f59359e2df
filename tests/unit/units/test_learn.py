"""What no label backs waits for a person, and an error of the judge is no verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.support.publishing import NOTE, shelve, workspace
from tests.support.scripted import ScriptedGenerator
from wbrag.core.config import load
from wbrag.core.errors import NoAnswer, WbragError
from wbrag.core.types import Generator, Hit
from wbrag.retrieval.encoder import Vectors
from wbrag.units.learn import learn
from wbrag.units.library import Library
from wbrag.units.stored import FROM_TRAFFIC, JUDGED, StoredUnit, marks
from wbrag.units.usage import Feedback, Served
from wbrag.workspace import Workspace

__all__ = ["workspace"]
ROW = {
    "id": "q0",
    "unit_title": "Note",
    "unit_text": "right",
    "sources": [{"id": NOTE.id, "content_hash": NOTE.content_hash}],
    "evidence": [{"passage_id": NOTE.id, "sentence": "right"}],
}


class Stub:
    """Models of a job: one vector for everything, and a generator that is down."""

    asked: Sequence[Any] = ()

    def embed(self, contents: Sequence[str]) -> Vectors:
        return np.array([[1, 0, 0]] * len(contents), dtype=np.float32)

    def nearest(self, units: Sequence[StoredUnit]) -> Mapping[str, Sequence[Hit]]:
        return {s.unit.id: [] for s in units}

    def generator(self) -> Generator:
        return ScriptedGenerator(lambda *_: "", failures=dict.fromkeys(range(100), OSError("connection refused")))

    def distil(self, examples: Sequence[Any], *, round_trip: bool = False, witnessed: bool = False) -> Any:
        self.asked = examples
        raise WbragError("expected a model that writes, found none")


def served(name: str) -> Served:
    return Served(name, "2026-01-01", "", "none", "naive", "qa", "Which?", "right", (NOTE.id,), ("base",), (0.9,), 0.1)


@pytest.mark.parametrize(("metric", "approved"), [("task", 1), ("logprob", 1), ("judge", 0)])
def test_what_a_judge_let_in_waits_for_a_person(workspace: Workspace, metric: str, approved: int) -> None:
    judging = Workspace(workspace.path, load(canary={"examples": "toy/dev"}, enrich={"gate_metric": metric}))
    library = Library(judging.layout, Stub())
    library.shelve([ROW], "run")
    library.check()
    [stored] = judging.shelf.read()
    assert judging.results.latest([stored.unit.id])[stored.unit.id].passed and bool(marks(stored.unit)) == (
        approved == 0
    )
    assert Library(workspace.layout, Stub()).approve_what_passed() == approved, "whatever the settings are by now"
    if not approved:
        assert judging.decide([stored.unit.id], "approved", by="ana", why="read it") == 1


def test_written_again_it_waits_again(workspace: Workspace) -> None:
    id = shelve(workspace, "right", 0)
    [stored] = workspace.shelf.read()
    library = Library(workspace.layout, Stub())
    library.shelve([ROW | {"unit_text": "right, once more"}], "run", **{FROM_TRAFFIC: 1.0})
    both = {s.unit.id: set(marks(s.unit)) for s in workspace.shelf.read()}
    assert both == {id: set()}, "near-duplicates: the text that labels back stays"
    library.shelve([ROW | {"unit_title": "Another", "unit_text": "right"}], "run", **{JUDGED: 1.0})
    assert sorted(map(len, (marks(s.unit) for s in workspace.shelf.read()))) == [0, 1]
    assert stored.unit.id == id


def test_an_error_of_the_judge_is_no_verdict(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    learning = Workspace(
        workspace.path, load(canary={"examples": "toy/dev"}, learn={"enabled": True, "grounding": 0.1})
    )
    library, models = Library(learning.layout, Stub()), Stub()
    learning.usage.add([served("a"), served("b")], [])
    with pytest.raises(
        NoAnswer, match=r"found that it judged none \(.*connection refused\): start it .* none of them was"
    ):
        learn(library, models)
    learning.usage.add([], [Feedback("a", "2026-01-02", "", 1)])
    with pytest.raises(WbragError, match="a model that writes"):
        learn(library, models)
    assert [example.id for example in models.asked] == ["a"], "b is looked at again, once it can be judged"
    assert "1 served answers could not be judged" in caplog.text

"""A person's correction: a new signed unit in the old one's place, checked like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from deltalake import write_deltalake

from tests.support.publishing import NOTE, shelve, workspace
from wbrag.cli.main import main
from wbrag.core.errors import StoreError, UsageError, WbragError
from wbrag.core.types import Hit
from wbrag.executor.runner import Runner
from wbrag.retrieval.encoder import Vectors
from wbrag.units.correct import LONGEST, correct
from wbrag.units.library import Library
from wbrag.units.stored import JUDGED, StoredUnit
from wbrag.units.table import UnitTable
from wbrag.workspace import Workspace

__all__ = ["workspace"]


class Stub:
    """An encoder to which all texts are alike, so that nothing but their ids keeps them apart."""

    broken = False

    def embed(self, contents: Sequence[str]) -> Vectors:
        if self.broken:
            raise WbragError("expected an encoder, found none")
        return np.array([[1, 0, 0]] * len(contents), dtype=np.float32)

    def nearest(self, units: Sequence[StoredUnit]) -> Mapping[str, Sequence[Hit]]:
        return {s.unit.id: [] for s in units}


@pytest.mark.parametrize(("state", "after"), [("approved", "retired"), (None, "rejected")])
def test_the_new_one_is_signed_and_checked_and_the_old_one_closed(
    workspace: Workspace, state: str | None, after: str
) -> None:
    id = shelve(workspace, "right", 0)
    if state:
        workspace.decide([id], state, by="ana", why="read it")  # type: ignore[arg-type]
    library = Library(workspace.layout, Stub())
    new = correct(library, id, text="It is right, or right too.", by="eve", why="half of it")
    assert (new.title, new.parent, new.model, new.sources) == (
        "Note",
        id,
        "person:eve",
        ((NOTE.id, NOTE.content_hash),),
    )
    assert not new.scores and len(workspace.shelf.read()) == 2, "it went into no other unit"
    last = workspace.decisions.latest([id])[id]
    assert (last.state, last.by, last.why) == (after, "eve", f"corrected as {new.id}: half of it")
    assert workspace.decisions.states().get(new.id, "candidate") == "candidate"
    assert {check.name for check in workspace.results.latest([new.id])[new.id].results} == set(
        workspace.config.checks.enabled
    )
    assert {s.unit.id: s.unit.parent for s in workspace.shelf.read()} == {id: "", new.id: id}
    third = correct(library, new.id, title="  A  note ", by="ana", why="its title")
    assert (third.title, third.text, third.parent) == ("A note", new.text, new.id)


def test_what_no_label_backs_waits_after_a_correction_too(workspace: Workspace) -> None:
    """Else a word changed in a rejected unit would have the policy approve it."""
    shelve(workspace, "right", 0)
    [stored] = workspace.shelf.read()
    judged = replace(stored.unit, title="J", scores={JUDGED: 1.0, "s_unit": 1.0})
    workspace.shelf.add([judged], stored.vector[None], stored.encoder, 2.0)
    library = Library(workspace.layout, Stub())
    library.decide([judged.id], "rejected", by="ana", why="no")
    new = correct(library, judged.id, text="It is right", by="eve", why="so")
    library.approve_what_passed()
    assert new.scores == {JUDGED: 1.0} and new.id not in workspace.decisions.states()


def test_a_correction_that_cannot_be_kept_closes_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    id = shelve(workspace, "right", 0)
    workspace.decide([id], "approved", by="ana", why="read it")

    def full(*_: object) -> None:
        raise StoreError("expected to write, found the disk full")

    monkeypatch.setattr(UnitTable, "add", full)
    with pytest.raises(StoreError):
        correct(Library(workspace.layout, Stub()), id, text="right too", by="eve", why="so")
    assert workspace.decisions.states() == {id: "approved"}


def test_what_is_no_correction_closes_nothing(workspace: Workspace) -> None:
    id, other = shelve(workspace, "right", 0), shelve(workspace, "right too", 1)
    stub = Stub()
    library = Library(workspace.layout, stub)
    for wrong, said in (
        ({}, "found nothing changed: change title or text"),
        ({"text": " right "}, "found nothing changed"),
        ({"text": "right too"}, f"found unit {other}, which says just that"),
        ({"text": "x" * LONGEST}, "expected at most 4,000 characters"),
    ):
        with pytest.raises(UsageError, match=said):
            correct(library, id, by="eve", why="", **wrong)
    with pytest.raises(UsageError, match="found 'wb-none'"):
        correct(library, "wb-none", text="x", by="eve", why="")
    stub.broken = True
    with pytest.raises(WbragError, match="expected an encoder"):
        correct(library, id, text="It is right.", by="eve", why="")
    assert workspace.decisions.all() == [] and len(workspace.shelf.read()) == 2


def test_the_verb(workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    id = shelve(workspace, "right", 0)
    monkeypatch.setattr(Runner, "embed", lambda self, contents: Stub().embed(contents))
    monkeypatch.setattr(Runner, "nearest", lambda self, units: Stub().nearest(units))
    line = ["units", "edit", id, "--text", "right too", "--why", "so", "--by", "eve"]
    assert main([*line, "--workspace", str(workspace.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["parent"], found["text"], found["state"]) == (id, "right too", "candidate") and found["checks"]


def test_a_table_of_before_takes_it(workspace: Workspace) -> None:
    """Units of an older workspace have no parents, and no column for them."""
    id = shelve(workspace, "right", 0)
    rows = workspace.shelf.table().drop_columns(["parent"])
    shutil.rmtree(workspace.shelf.folder)
    write_deltalake(str(workspace.shelf.folder), rows)
    assert [s.unit.parent for s in workspace.shelf.read()] == [""]
    new = correct(Library(workspace.layout, Stub()), id, text="right too", by="eve", why="so")
    assert {s.unit.id: s.unit.parent for s in workspace.shelf.read()} == {id: "", new.id: id}
    assert {s.unit.id for s in workspace.shelf.read(version=0)} == {id}

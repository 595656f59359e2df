"""Publishing from the desk, on real Delta tables and a real shard, with a scripted library and model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest

from tests.support.publishing import QUESTIONS, shelve
from tests.support.scripted import ScriptedGenerator
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.core.types import Hit, Messages, Sampling
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.serving.endpoint_models import EndpointModels
from wbrag.units.library import Library
from wbrag.units.publisher import Publisher
from wbrag.units.release_contents import release_ids
from wbrag.units.releases import Release
from wbrag.workspace import Workspace


class Books:
    """A library in which only releases of `good` units hold the answers."""

    def __init__(self, workspace: Workspace, *, damaged: bool = False) -> None:
        self.workspace, self.damaged = workspace, damaged
        self.prepared: list[str] = []

    async def search(
        self, queries: Sequence[str], k: int, release: Release, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        texts = {s.unit.id: s.unit.text for s in self.workspace.shelf.read()}
        held = " ".join(texts[id] for id in release_ids(self.workspace.layout, release))
        return [[Hit("p", "Note", held or "base: right", 0.5)] for _ in queries]

    async def embed(self, contents: Sequence[str], queries: bool = False) -> Vectors:
        return np.array([[0, 0, 1]] * len(contents), dtype=np.float32)

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        return [[] for _ in contents]

    async def prepare(self, release: Release) -> None:
        if self.damaged:
            raise WbragError("expected a shard with sha256 12, found 34: index again")
        self.prepared.append(release.id)


class Desk:
    """Publishing as the endpoint does it."""

    def __init__(self, workspace: Workspace, books: Books, generator: ScriptedGenerator) -> None:
        self.models = EndpointModels(workspace.layout, books, generator)
        self.publisher = Publisher(Library(workspace.layout, self.models), self.models)

    async def publish(self, by: str, note: str) -> Release:
        return await self.models.in_thread(lambda: self.publisher.publish(note, by=by))


def reader(messages: Messages, sampling: Sampling) -> str:
    return "right" if "right" in messages[0].content else "wrong"


def test_what_passed_is_approved_tested_and_published(workspace: Workspace) -> None:
    good, bad = shelve(workspace, "right", 0), shelve(workspace, "right too", 1, passed=False)
    books = Books(workspace)
    publisher = Desk(workspace, books, ScriptedGenerator(reader))
    release = asyncio.run(publisher.publish("ana", "first"))
    assert (release.id, release.by, release.note, release.units) == ("r0001", "ana", "first", 1)
    assert workspace.decisions.states() == {good: "approved"} and bad not in release_ids(workspace.layout, release)
    report = json.loads(release.canary)
    assert (report["n"], report["before"], report["after"], report["passed"]) == (QUESTIONS, 1.0, 1.0, True)
    assert books.prepared == ["r0001"]
    assert asyncio.run(publisher.publish("ana", "again")) == release, "nothing new must make no release"


def test_a_release_that_answers_worse_or_is_damaged_is_not_published(workspace: Workspace) -> None:
    shelve(workspace, "nonsense", 0)
    with pytest.raises(WbragError, match="not to fall, found 100.0% before and 0.0% after over 12 questions"):
        asyncio.run(Desk(workspace, Books(workspace), ScriptedGenerator(reader)).publish("ana", ""))
    with pytest.raises(WbragError, match="sha256"):
        asyncio.run(Desk(workspace, Books(workspace, damaged=True), ScriptedGenerator(reader)).publish("ana", ""))
    assert workspace.releases.all() == []


def test_checks_made_under_other_settings_approve_nothing(workspace: Workspace) -> None:
    loose = Workspace(workspace.path, load(checks={"enabled": ["instructions"]}))
    shelve(workspace, "right", 0, passed=False)
    todo = loose.library.unexamined()
    loose.library.examine(todo, {s.unit.id: () for s in todo})
    assert all(found.passed for found in workspace.results.findings().values())
    assert workspace.approve_what_passed() == 0
    with pytest.raises(WbragError, match="approved units"):
        asyncio.run(Desk(workspace, Books(workspace), ScriptedGenerator(reader)).publish("ana", ""))


def test_a_canary_without_answers_stops_the_release(workspace: Workspace) -> None:
    shelve(workspace, "right", 0)
    dead = ScriptedGenerator(reader, failures=dict.fromkeys(range(100), OSError("gone")))
    with pytest.raises(WbragError, match="at least half of the questions of toy/dev, found 0"):
        asyncio.run(Desk(workspace, Books(workspace), dead).publish("ana", ""))
    assert workspace.releases.all() == []


def test_two_at_once_make_one_release(workspace: Workspace) -> None:
    shelve(workspace, "right", 0)
    publisher = Desk(workspace, Books(workspace), ScriptedGenerator(reader))

    async def both() -> list[Release]:
        return await asyncio.gather(publisher.publish("ana", ""), publisher.publish("ben", ""))

    one, two = asyncio.run(both())
    assert one == two and workspace.releases.all() == [one]


def test_after_a_change_of_encoder_the_desk_embeds_again_and_publishes(workspace: Workspace) -> None:
    """The retrievers that serve hold the only encoder of the endpoint."""
    shelve(workspace, "right", 0)
    workspace.shelf.embed_again(workspace.shelf.ids(), np.array([[0, 1, 0]], dtype=np.float32), "the encoder before")
    books = Books(workspace)
    release = asyncio.run(Desk(workspace, books, ScriptedGenerator(reader)).publish("ana", ""))
    [again] = workspace.shelf.read()
    assert again.encoder == encoder_fingerprint(workspace.config.encoder)
    assert again.vector.tolist() == [0, 0, 1] and release.units == 1 and books.prepared == [release.id]


def test_a_unit_that_is_retired_while_its_release_is_tested_does_not_go_out(workspace: Workspace) -> None:
    good, other = shelve(workspace, "right", 0), shelve(workspace, "right too", 1)

    class Meanwhile(Books):
        async def prepare(self, release: Release) -> None:
            if other in release_ids(workspace.layout, release):
                workspace.decide([other], "retired", by="eve", why="wrong year")

    desk = Desk(workspace, Meanwhile(workspace), ScriptedGenerator(reader))
    with pytest.raises(WbragError, match=rf"found {other} retired by eve at .* \(wrong year\): nothing was published"):
        asyncio.run(desk.publish("ana", ""))
    assert workspace.releases.all() == []
    assert release_ids(workspace.layout, asyncio.run(desk.publish("ana", ""))) == {good}

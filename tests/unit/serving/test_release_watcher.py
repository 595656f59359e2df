"""Following the releases table: a switch only after a successful preparation."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.core.types import Hit
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest
from wbrag.serving.release_watcher import ReleaseWatcher
from wbrag.units.layout import Layout
from wbrag.units.releases import Release, release_id


@dataclass
class FakeLibrary:
    """Prepares everything but `bad`, and remembers what it was asked for."""

    bad: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    during: Callable[[], None] = lambda: None

    async def search(
        self, queries: Sequence[str], k: int, release: Release, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        raise AssertionError("following the releases takes no search")

    async def prepare(self, release: Release) -> None:
        self.asked.append(release.id)
        self.during()
        if release.id in self.bad:
            raise self.bad[release.id]


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    """A workspace with a base index of no shards."""
    store = Layout(tmp_path / "w", load())
    path = store.path / "index" / "base-1.json"
    digest = Manifest(encoder_fingerprint(store.config.encoder), "embedded", 4, "SQfp16", ()).write(path)
    pointer = {"manifest": "index/base-1.json", "sha256": digest, "corpus": "c"}
    (store.path / "index" / "base.json").write_text(json.dumps(pointer), encoding="utf-8")
    return store


def publish(store: Layout) -> Release:
    rows = store.releases.all()
    number = len(rows) + 1
    return store.releases.append(replace(store.release("none"), id=release_id(number), number=number, action="publish"))


def serving(current: ReleaseWatcher) -> str | None:
    return current.release and current.release.id


def test_without_a_release_the_base_answers_alone(store: Layout) -> None:
    current = ReleaseWatcher(store, library := FakeLibrary())
    assert not current.ready
    asyncio.run(current.refresh())
    assert (serving(current), current.ready, current.refused) == ("none", True, {})
    asyncio.run(current.refresh())
    assert library.asked == ["none"], "nothing changed"


def test_a_newer_row_is_prepared_before_it_answers(store: Layout) -> None:
    seen: list[str | None] = []
    current = ReleaseWatcher(store, library := FakeLibrary(during=lambda: seen.append(serving(current))))

    async def scenario() -> None:
        for _ in range(2):
            publish(store)
            await current.refresh()
        store.releases.rollback("r0001")
        await current.refresh()

    asyncio.run(scenario())
    assert library.asked == ["r0001", "r0002", "r0003"]
    assert seen == [None, "r0001", "r0002"], "the old one answers until the new one is ready"
    assert current.release == store.releases.get("r0003")


def test_a_release_that_fails_is_refused_and_the_old_one_stays(store: Layout, caplog: pytest.LogCaptureFixture) -> None:
    publish(store)
    library = FakeLibrary(bad={"r0002": WbragError("a shard is damaged")})
    current = ReleaseWatcher(store, library)

    async def scenario() -> None:
        await current.refresh()
        publish(store)
        for _ in range(3):
            await current.refresh()

    with caplog.at_level(logging.INFO, logger="wbrag.serving.release_watcher"):
        asyncio.run(scenario())
    assert (serving(current), current.ready) == ("r0001", True)
    assert current.refused == {"r0002": "a shard is damaged"}
    assert library.asked == ["r0001", "r0002"], "it is not tried again while nothing changes"
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == [
        "release r0002 is refused: a shard is damaged"
    ]


def test_a_refused_release_is_tried_again_after_a_change_or_a_while(store: Layout) -> None:
    publish(store)
    library = FakeLibrary(bad={"r0002": WbragError("damaged"), "r0003": WbragError("too")})
    current = ReleaseWatcher(store, library, retry_s=0.0)

    async def scenario() -> None:
        await current.refresh()
        publish(store)
        await current.refresh()
        publish(store)
        await current.refresh()
        assert current.refused == {"r0002": "damaged", "r0003": "too"}
        library.bad.clear()  # somebody mended the files
        await current.refresh()

    asyncio.run(scenario())
    assert (serving(current), current.refused) == ("r0003", {})


def test_a_start_goes_back_to_the_newest_release_that_is_sound(store: Layout) -> None:
    for _ in range(3):
        publish(store)
    current = ReleaseWatcher(store, FakeLibrary(bad={"r0003": WbragError("a"), "r0002": WbragError("b")}))
    asyncio.run(current.refresh())
    assert serving(current) == "r0001" and set(current.refused) == {"r0003", "r0002"}
    all_bad = {f"r000{n}": WbragError("x") for n in (1, 2, 3)}
    current = ReleaseWatcher(store, FakeLibrary(bad=all_bad))
    asyncio.run(current.refresh())
    assert serving(current) == "none"


def test_a_table_that_cannot_be_read_changes_nothing(store: Layout) -> None:
    publish(store)
    current = ReleaseWatcher(store, FakeLibrary())
    asyncio.run(current.refresh())
    log = store.path / "shelf" / "releases" / "_delta_log"
    away = log.rename(log.with_name("away"))
    log.mkdir()
    (log / "00000000000000000000.json").write_text("{", encoding="utf-8")
    asyncio.run(current.refresh())
    assert serving(current) == "r0001" and not current.refused
    (log / "00000000000000000000.json").unlink()
    log.rmdir()
    away.rename(log)
    publish(store)
    asyncio.run(current.refresh())
    assert serving(current) == "r0002"


def test_a_table_that_is_away_for_a_moment_changes_nothing(store: Layout) -> None:
    publish(store)
    current = ReleaseWatcher(store, FakeLibrary())
    asyncio.run(current.refresh())
    table = store.path / "shelf" / "releases"
    away = table.rename(table.with_name("away"))
    asyncio.run(current.refresh())
    assert serving(current) == "r0001"
    away.rename(table)


def test_an_error_of_the_moment_is_no_verdict(store: Layout) -> None:
    publish(store)
    library = FakeLibrary(bad={"r0002": ConnectionError("the replica is away")})
    current = ReleaseWatcher(store, library)

    async def scenario() -> None:
        await current.refresh()
        publish(store)
        await current.refresh()
        assert serving(current) == "r0001" and not current.refused
        library.bad.clear()
        await current.refresh()

    asyncio.run(scenario())
    assert serving(current) == "r0002"


def test_a_start_answers_with_what_there_is_and_goes_on_trying(store: Layout) -> None:
    for _ in range(2):
        publish(store)
    library = FakeLibrary(bad={"r0002": OSError("the disk is away")})
    current = ReleaseWatcher(store, library)

    async def scenario() -> None:
        await current.refresh()
        assert serving(current) == "r0001" and not current.refused
        library.bad.clear()
        await current.refresh()

    asyncio.run(scenario())
    assert serving(current) == "r0002"


def test_while_nothing_answers_every_look_tries_again(store: Layout) -> None:
    publish(store)
    library = FakeLibrary(bad={name: WbragError("damaged") for name in ("none", "r0001")})
    current = ReleaseWatcher(store, library)

    async def scenario() -> None:
        await current.refresh()
        assert not current.ready and set(current.refused) == {"none", "r0001"}
        library.bad.clear()
        await current.refresh()

    asyncio.run(scenario())
    assert (serving(current), current.refused) == ("r0001", {})


def test_it_polls_until_it_is_stopped(store: Layout) -> None:
    current = ReleaseWatcher(store, FakeLibrary(), poll_s=0.01)

    async def scenario() -> None:
        await current.start()
        assert serving(current) == "none"
        publish(store)
        async with asyncio.timeout(60):
            while serving(current) != "r0001":
                await asyncio.sleep(0.01)
        await current.stop()
        publish(store)
        await asyncio.sleep(0.1)

    asyncio.run(scenario())
    assert serving(current) == "r0001"


def test_a_new_base_index_answers_where_there_is_no_release(store: Layout) -> None:
    current = ReleaseWatcher(store, library := FakeLibrary())
    asyncio.run(current.refresh())
    path = store.path / "index" / "base-2.json"
    digest = Manifest(encoder_fingerprint(store.config.encoder), "embedded", 4, "Flat", ()).write(path)
    pointer = {"manifest": "index/base-2.json", "sha256": digest, "corpus": "d"}
    (store.path / "index" / "base.json").write_text(json.dumps(pointer), encoding="utf-8")
    asyncio.run(current.refresh())
    assert library.asked == ["none", "none"] and current.release == store.release("none")


def test_a_release_that_is_issued_again_with_other_contents_answers(store: Layout) -> None:
    """A power loss may take a release back that answers already: its number is used again."""
    for _ in range(2):
        publish(store)
    current = ReleaseWatcher(store, FakeLibrary())
    asyncio.run(current.refresh())
    first = current.release
    for file in (store.path / "shelf" / "releases" / "_delta_log").glob("*1.json"):
        file.unlink()
    asyncio.run(current.refresh())
    assert current.release == first, "as long as nothing takes its place"
    again = store.releases.append(replace(first, note="other units", writeback_sha256="1" * 64))  # type: ignore[type-var]
    asyncio.run(current.refresh())
    assert current.release == again != first

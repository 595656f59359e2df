"""A release names a trained retriever too: it answers by it, and rolling back goes back to the one before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.library import contents, index
from tests.support.releases import D, HashEncoder, library, passages, two_releases
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.core.types import Hit
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.trained import TrainedRetriever, save_adapter
from wbrag.serving.release_cache import ReleaseCache
from wbrag.serving.release_watcher import ReleaseWatcher
from wbrag.units.layout import Layout
from wbrag.units.library import Library
from wbrag.units.publisher import Publisher
from wbrag.units.releases import Release

QUESTION = "b 3\nabout b 3"  # a passage's very text


def swap(layout: Layout, a: str, b: str, created_at: str, better: bool = True, encoder: str = "") -> str:
    """A trained retriever that takes the question for another passage's."""
    at, to = HashEncoder().encode_passages([a, b])
    one = Adapter((4 * at)[None], (to - at)[:, None])
    part = save_adapter(layout.retrievers, one, {}, {})
    c = layout.config.encoder
    found = TrainedRetriever(encoder or encoder_fingerprint(c), c.model, D, (part,), created_at, better=better)
    found.write(layout.retrievers)
    return found.name


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return two_releases(Layout(tmp_path / "w", load(checks={"policy": "manual"})))


def publisher(layout: Layout) -> Publisher:
    class Nobody:
        def prepare(self, release: Release) -> None:
            layout.adapter(release)

        def canary_rows(self, release: Release) -> list[dict[str, Any]]:
            raise AssertionError

    return Publisher(Library(layout, cast(Any, None)), Nobody())


def first(cache: ReleaseCache, release: Release) -> Hit:
    [hits] = asyncio.run(cache.search([QUESTION], 3, release))
    return hits[0]


def test_it_answers_by_its_own_and_rolls_back(layout: Layout) -> None:
    before = layout.releases.get("latest")
    name = swap(layout, QUESTION, "b 7\nabout b 7", "2026-01-01T00:00:00+00:00")
    after = layout.releases.append(publisher(layout).propose())
    assert after.retriever == f"retrievers/{name}.json" and after.files != before.files
    back = layout.releases.rollback(before.id)
    cache = library(layout)
    assert [first(cache, r).id for r in (before, after, back)] == ["b3", "b7", "b3"]
    assert back.retriever == ""


def test_a_swap_and_a_rollback_under_load_lose_nothing(layout: Layout) -> None:
    """Every search is answered as the release says that answered it, while releases come and go."""
    base = layout.releases.get("latest")
    swap(layout, QUESTION, "b 7\nabout b 7", "2026-01-01T00:00:00+00:00")

    async def run() -> list[tuple[str, str]]:
        cache = library(layout)
        watcher = ReleaseWatcher(layout, cache)
        await watcher.refresh()
        found: list[tuple[str, str]] = []
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                release = watcher.release
                assert release is not None
                [hits] = await cache.search([QUESTION], 1, release)
                found.append((release.id, hits[0].id))

        askers = [asyncio.create_task(ask()) for _ in range(8)]
        for step in (
            lambda: layout.releases.append(publisher(layout).propose()),
            lambda: layout.releases.rollback(base.id),
        ):
            await asyncio.to_thread(step)
            await watcher.refresh()
            before = len(found)
            while len(found) < before + 50:
                await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*askers)
        return found

    found = asyncio.run(run())
    releases = {r.id: r for r in layout.releases.all()}
    assert {id for id, _ in found} >= {r.id for r in list(releases.values())[-2:]}
    assert all(hit == ("b7" if releases[id].retriever else "b3") for id, hit in found)


def test_passages_are_not_moved(layout: Layout) -> None:
    swap(layout, QUESTION, "b 7\nabout b 7", "2026-01-01T00:00:00+00:00")
    after = layout.releases.append(publisher(layout).propose())
    vectors = HashEncoder().encode_passages([QUESTION])
    [hits] = asyncio.run(library(layout).nearest([QUESTION], vectors, 1, after))
    assert hits[0].id == "b3"


def test_which_one_is_published(layout: Layout) -> None:
    made, history = publisher(layout), layout.releases.all()
    assert made.retriever("latest", history) is None
    worse = swap(layout, "a", "b", "2099-01-01T00:00:00+00:00", better=False)
    better = swap(layout, "a", "c", "2098-01-01T00:00:00+00:00")
    swap(layout, "a", "d", "2099-01-02T00:00:00+00:00", encoder="of another model")
    chosen = made.retriever("latest", history)
    assert chosen is not None and chosen.name == better
    assert made.retriever("none", history) is None
    forced = made.retriever(worse, history)
    assert forced is not None and forced.name == worse
    with pytest.raises(WbragError, match="choose one of"):
        made.retriever("nobody", history)


def test_what_was_rolled_back_does_not_come_again_by_itself(layout: Layout) -> None:
    bad = swap(layout, "a", "b", "2026-01-01T00:00:00+00:00")
    made, before = publisher(layout), layout.releases.get("latest")
    layout.releases.append(made.propose())
    layout.releases.rollback(before.id)
    assert made.propose().retriever == ""
    chosen = made.retriever("none", layout.releases.all()), made.retriever(bad, layout.releases.all())
    assert chosen[0] is None and chosen[1] is not None
    newer = swap(layout, "a", "c", "2999-01-01T00:00:00+00:00")
    assert made.propose().retriever == f"retrievers/{newer}.json"


def test_one_of_another_encoder_and_a_damaged_one_are_refused(layout: Layout) -> None:
    name = swap(layout, "a", "b", "2026-01-01T00:00:00+00:00")
    release = publisher(layout).propose()
    other = Layout(
        layout.path,
        layout.config.model_copy(update={"encoder": layout.config.encoder.model_copy(update={"max_tokens": 99})}),
    )
    with pytest.raises(WbragError, match="trained for the encoder"):
        other.adapter(release)
    file = layout.retrievers / TrainedRetriever.read(layout.retrievers / f"{name}.json").parts[0].folder
    (file / "adapter.safetensors").write_bytes(b"")
    with pytest.raises(WbragError, match="damaged"):
        asyncio.run(library(layout).prepare(release))


def test_a_workspace_without_units_can_publish_a_retriever(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "w", load())
    rows = passages("b", 40)
    index(layout, rows, HashEncoder().encode_passages([contents(row) for row in rows]))
    with pytest.raises(WbragError, match="approved units"):
        publisher(layout).propose()
    swap(layout, QUESTION, "b 7\nabout b 7", "2026-01-01T00:00:00+00:00")
    release = layout.releases.append(publisher(layout).propose())
    assert (release.units, first(library(layout), release).id) == (0, "b7")

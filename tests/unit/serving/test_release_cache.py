"""Releases opened from real shards and Delta tables, with an encoder that needs no model."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.library import contents, index
from tests.support.releases import HashEncoder, library, passages, two_releases
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.core.types import Hit
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import Shard, build_shard, open_shards
from wbrag.serving.open_shards import self_test
from wbrag.units.layout import Layout


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return two_releases(Layout(tmp_path / "w", load()))


def test_hits_are_the_releases_own(store: Layout) -> None:
    lib = library(store)
    none, r1, r2 = store.release("none"), *store.releases.all()

    async def scenario() -> None:
        for release, found in ((none, False), (r1, False), (r2, True)):
            [passage, unit] = await lib.search([contents(passages("b", 40)[7]), "unit 7\ndistilled 7"], 1, release)
            assert passage[0].id == "b7" and passage[0].score == pytest.approx(1, abs=1e-3)
            assert (unit[0].title == "unit 7") is found
            assert (unit[0].origin == "writeback" and unit[0].score > 0.99) is found

    asyncio.run(scenario())


def test_a_new_release_loads_only_its_new_shards(store: Layout) -> None:
    lib = library(store, encoder := HashEncoder())
    r1, r2 = store.releases.all()

    async def scenario() -> None:
        await lib.prepare(r1)
        assert encoder.texts == 3 * 3  # three samples of each shard: two of the base, one of units
        before = dict(lib.shards.known)
        await lib.prepare(r2)
        assert encoder.texts == 4 * 3
        assert before.items() <= dict(lib.shards.known).items()
        await lib.prepare(store.releases.rollback("r0001"))
        await lib.prepare(r1)
        assert encoder.texts == 4 * 3

    asyncio.run(scenario())


class Ahead(asyncio.SelectorEventLoop):
    """A loop whose clock can be set forward."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


async def later(seconds: float) -> None:
    """What is due within `seconds` has happened."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Ahead)
    for _ in range(10):  # what is put off meanwhile is due in its turn
        loop.ahead_s += seconds / 10
        await asyncio.sleep(0.001)


def test_an_old_base_is_let_go_once_its_requests_are_over(store: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three releases were kept, whatever they weighed: 64 to 96 GB with three bases of 21M passages."""
    serving = store.config.serving.model_copy(update={"timeout_s": 200, "poll_s": 50})
    monkeypatch.setattr(store, "config", store.config.model_copy(update={"serving": serving}))
    lib = library(store)
    [r1, r2] = store.releases.all()
    other = replace(r2, id="r0003", base_sha256="another base", base_manifest=r2.base_manifest)
    monkeypatch.setattr(store, "indexes", lambda release: Layout.indexes(store, r2))

    async def scenario() -> None:
        await lib.prepare(r1)
        await lib.prepare(r2)
        await lib.prepare(other)
        assert len(lib.releases.tasks) == 3
        await later(150)
        await lib.search(["x"], 1, r1)  # somebody still asks the old one
        await later(200)
        assert list(lib.releases.tasks) == [" ".join(other.files), " ".join(r1.files)]
        await lib.prepare(other)
        await later(350)
        assert list(lib.releases.tasks) == [" ".join(other.files)]
        assert (await lib.search(["x"], 1, r1))[0]  # opened again

    with asyncio.Runner(loop_factory=Ahead) as runner:
        runner.run(scenario())


def test_two_releases_search_what_they_share_together(store: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """One queue a shard, whatever the releases: while one is swapped for the other both are asked."""
    lib = library(store)
    r1, r2 = store.releases.all()
    asked: list[int] = []

    async def scenario() -> None:
        await lib.prepare(r1)
        await lib.prepare(r2)
        search = Shard.search

        def counted(shard: Shard, queries: np.ndarray, k: int, *how: Any) -> list[list[Hit]]:  # type: ignore[type-arg]
            if shard.origin == "base":
                asked.append(len(queries))
            return search(shard, queries, k, *how)

        monkeypatch.setattr(Shard, "search", counted)
        await asyncio.gather(lib.search(["x"], 3, r1), lib.search(["y"], 3, r2))

    asyncio.run(scenario())
    assert asked == [2, 2]  # two shards


def test_the_self_test_of_a_shard_of_two_gigabytes_of_text(tmp_path: Path) -> None:
    """A whole column of more than 2 GB is no array of Arrow's: three samples were once taken out of such a one."""
    encoder, times = HashEncoder(), 800
    texts = [letter * 1_000_000 for letter in "abc"]
    batch = pa.record_batch([list("abc"), list("TUV"), texts], names=["id", "title", "text"])
    vectors = encoder.encode_passages([f"{t}\n{x}" for t, x in zip("TUV", texts, strict=True)])
    small = pa.table({"id": ["x"] * 3 * times, "title": [""] * 3 * times, "text": [""] * 3 * times})
    files = build_shard(tmp_path, "s", "SQfp16", vectors.shape[1], [(np.tile(vectors, (times, 1)), small)])
    manifest = Manifest("e", "m", vectors.shape[1], "SQfp16", (files,))
    [shard] = open_shards(tmp_path, manifest, "base", gpu=False)
    shard.passages = pa.Table.from_batches([batch] * times)
    shard._batches = shard.passages.to_batches()
    shard._starts = np.arange(times + 1) * 3
    assert shard.passages.nbytes > 2**31
    self_test(shard, files, manifest, encoder)  # type: ignore[arg-type]
    shard._batches = shard._batches[:-1] + [batch.set_column(2, "text", pa.array(["x", "y", "z"]))]
    with pytest.raises(WbragError, match="its own 10 nearest, found others"):
        self_test(shard, files, manifest, encoder)  # type: ignore[arg-type]


def test_requests_for_one_release_load_it_once(store: Layout) -> None:
    lib = library(store, encoder := HashEncoder())
    [r1, _] = store.releases.all()

    async def scenario() -> None:
        first = asyncio.create_task(lib.search(["x"], 3, r1))
        others = [asyncio.create_task(lib.search(["x"], 3, r1)) for _ in range(7)]
        await asyncio.sleep(0)
        first.cancel()  # whoever began the load may leave
        found = await asyncio.gather(*others)
        assert all(lists == found[0] for lists in found)

    asyncio.run(scenario())
    assert encoder.texts == 3 * 3 + 1 or encoder.texts == 3 * 3 + 7  # queries may come in one batch or in several


def test_eviction_frees_what_no_kept_release_uses(store: Layout) -> None:
    lib = library(store, keep=1)
    [_, r2] = store.releases.all()

    async def scenario() -> None:
        await lib.prepare(r2)
        assert len(lib.shards.known) == 4
        await lib.prepare(store.release("none"))

    asyncio.run(scenario())
    gc.collect()
    assert sorted(key.split()[0] for key in lib.shards.known) == ["base", "base"]


def test_the_cache_is_filled_mended_and_used(store: Layout, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    [_, r2] = store.releases.all()
    asyncio.run(library(store, cache_dir=cache).prepare(r2))
    files = sorted(cache.glob("*/vectors.faiss"))
    assert len(files) == 4 and not list(cache.glob(".*.*[!k]"))
    whole = [file.read_bytes() for file in files]
    damaged = bytearray(whole[2])
    damaged[-1] ^= 1
    files[2].write_bytes(bytes(damaged))
    untouched = files[0].stat().st_ino
    asyncio.run(library(store, cache_dir=cache).prepare(r2))
    assert [file.read_bytes() for file in files] == whole
    assert files[0].stat().st_ino == untouched, "a good copy was fetched again"
    for shard in (store.path / "index").glob("*/"):
        shard.rename(shard.with_name(f"away-{shard.name}"))
    asyncio.run(library(store, cache_dir=cache).prepare(r2))


@pytest.mark.parametrize("cached", [False, True])
def test_a_damaged_shard_is_named(store: Layout, tmp_path: Path, cached: bool) -> None:
    r1, r2 = store.releases.all()
    old, new = (Manifest.read(store.path / release.writeback_manifest).shards for release in (r1, r2))
    [shard] = [shard for shard in new if shard not in old]
    file = store.path / "index" / shard.folder / "passages.arrow"
    file.write_bytes(file.read_bytes()[:-1])
    lib = library(store, cache_dir=tmp_path / "cache" if cached else None)

    async def scenario() -> None:
        with pytest.raises(WbragError, match=f"{file}.*damaged"):
            await lib.prepare(r2)
        await lib.prepare(r1)

    asyncio.run(scenario())


def test_vectors_of_other_texts_are_refused(tmp_path: Path) -> None:
    store = Layout(tmp_path / "w", load())
    rows = passages("b", 40)
    vectors = HashEncoder().encode_passages([contents(row) for row in rows])
    index(store, rows, np.roll(vectors, 20, axis=0))
    with pytest.raises(WbragError, match="among its own 10 nearest"):
        asyncio.run(library(store).prepare(store.release("none")))


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    store = Layout(tmp_path / "w", load())
    rows = passages("b", 8)
    vectors = HashEncoder().encode_passages([contents(row) for row in rows])
    vectors[:, 0] *= np.float32(np.inf)
    index(store, rows, vectors)
    with pytest.raises(WbragError, match="finite scores"):
        asyncio.run(library(store).prepare(store.release("none")))


def test_another_encoder_is_refused(store: Layout) -> None:
    [r1, _] = store.releases.all()
    other = Layout(store.path, load(encoder={"max_tokens": 64}))
    with pytest.raises(WbragError, match="other settings of it: publish again"):
        asyncio.run(library(other).prepare(r1))


def test_a_manifest_of_other_contents_is_refused(store: Layout) -> None:
    [r1, _] = store.releases.all()
    with pytest.raises(WbragError, match="expected the manifest"):
        asyncio.run(library(store).prepare(replace(r1, writeback_sha256="0" * 64)))


def test_a_disk_that_is_full_is_no_verdict_on_the_release(store: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*parts: object) -> None:
        raise OSError(28, "No space left on device")

    lib = library(store)
    [r1, _] = store.releases.all()
    monkeypatch.setattr(lib.shards, "from_disk", full)
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(lib.prepare(r1))


def test_opening_takes_no_thread_of_the_searches(store: Layout) -> None:
    lib = library(store)

    async def scenario() -> None:
        asyncio.get_running_loop().set_default_executor(pool := ThreadPoolExecutor(1))
        wait = threading.Event()
        pool.submit(wait.wait, 20)
        await asyncio.wait_for(lib.prepare(store.release("none")), 60)
        wait.set()

    asyncio.run(scenario())


def test_a_failed_load_is_tried_again(store: Layout) -> None:
    lib = library(store)
    [r1, _] = store.releases.all()
    manifest = store.path / r1.writeback_manifest
    away = manifest.rename(manifest.with_suffix(".away"))

    async def scenario() -> None:
        with pytest.raises(WbragError):
            await lib.search(["x"], 1, r1)
        away.rename(manifest)
        assert len((await lib.search(["x"], 1, r1))[0]) == 1

    asyncio.run(scenario())

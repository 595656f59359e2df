"""Shards, releases and what is served of them, where the workspace lies in an object store; without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.library import contents, published, shelve
from tests.support.releases import HashEncoder, library, passages, two_releases, units
from tests.support.s3_server import AT_ONCE, BUCKET, S3Server
from wbrag.core.config import load
from wbrag.core.errors import StoreError, WbragError
from wbrag.core.io import objects
from wbrag.core.io.files import listed, location
from wbrag.retrieval.index.shard import open_shards
from wbrag.serving.release_watcher import ReleaseWatcher
from wbrag.units.layout import Layout
from wbrag.units.release_contents import unit_ids


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Layout]:
    s3.use(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "TRIES", 1)
    monkeypatch.setattr(objects, "DELTA_RETRIES", AT_ONCE)
    yield two_releases(Layout(f"s3://{BUCKET}/{tmp_path.name}", load()))
    s3.fault = None


def copies(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "wbrag" / "shards").glob("[!.]*"))


def test_releases_are_those_of_a_local_folder(store: Layout, tmp_path: Path) -> None:
    local = two_releases(Layout(tmp_path / "w", load()))
    found = [[(r.id, r.base_sha256, r.writeback_sha256, r.units) for r in s.releases.all()] for s in (store, local)]
    assert found[0] == found[1] and len(found[0]) == 2
    [_, (manifest, _)] = store.indexes("latest")
    ids = [unit_ids(store.path / "index" / files.folder) for files in manifest.shards]
    assert set().union(*ids) == {s.unit.id for s in local.shelf.read()}


def test_a_shard_is_fetched_once_for_the_machine(store: Layout, s3: S3Server, tmp_path: Path) -> None:
    for _ in range(2):
        lib = library(store)
        for release in store.releases.all():
            [[hit]] = asyncio.run(lib.search([contents(passages("b", 40)[7])], 1, release))
            assert hit.id == "b7"
    assert len(copies(tmp_path)) == 4
    [(manifest, origin)] = store.indexes("none")
    s3.requests.clear()
    assert [shard.count for shard in open_shards(store.path / "index", manifest, origin, gpu=False)] == [20, 20]
    assert s3.requests == []


def test_a_damaged_copy_is_fetched_again_and_a_damaged_shard_named(store: Layout, tmp_path: Path) -> None:
    [(manifest, origin)] = store.indexes("none")
    root = store.path / "index"
    open_shards(root, manifest, origin, gpu=False)
    victim = copies(tmp_path)[0] / "vectors.faiss"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert [s.count for s in open_shards(root, manifest, origin, gpu=False)] == [20, 20]
    assert victim.read_bytes() != content
    shared = root / manifest.shards[0].folder / "vectors.faiss"
    assert not isinstance(shared, Path)
    shared.put(_file(tmp_path, bytes(content)))
    for copy in copies(tmp_path):
        (copy / "vectors.faiss").write_bytes(b"gone")
    with pytest.raises(WbragError, match=f"expected {shared} with sha256 .* the shard is damaged"):
        open_shards(root, manifest, origin, gpu=False)


def _file(folder: Path, content: bytes) -> Path:
    (folder / "damaged").write_bytes(content)
    return folder / "damaged"


def test_the_endpoint_goes_on_while_the_store_is_away(store: Layout, s3: S3Server) -> None:
    async def scenario() -> None:
        current = ReleaseWatcher(store, library(store))
        await current.refresh()
        assert current.release is not None and current.release.id == "r0002"
        shelve(store, HashEncoder(), units(10, 5))
        published(store)
        s3.fault = lambda method, path: 503 if "units-" in path else None  # the new shard's folder
        await current.refresh()
        assert current.release.id == "r0002" and current.refused == {}, "an outage was taken for a bad release"
        s3.fault = lambda method, path: 503
        await current.refresh()
        [[hit]] = await current.retriever.search(["unit 7\ndistilled 7"], 1, current.release)
        assert hit.title == "unit 7"
        s3.fault = None
        await current.refresh()
        assert current.release.id == "r0003"

    asyncio.run(scenario())


def test_a_publish_that_cannot_write_leaves_the_release_before(store: Layout, s3: S3Server) -> None:
    shelve(store, HashEncoder(), units(10, 5))
    for part in ("passages.arrow", "vectors.faiss", "writeback-", "releases/_delta_log"):
        s3.fault = lambda method, path, part=part: 503 if method in ("PUT", "POST") and part in path else None
        with pytest.raises(StoreError):
            published(store)
        s3.fault = None
        assert [r.id for r in store.releases.all()] == ["r0001", "r0002"]
    assert published(store).units == 15
    [[hit]] = asyncio.run(library(store).search(["unit 12\ndistilled 12"], 1, store.release("latest")))
    assert hit.title == "unit 12"


def test_every_location_of_the_shelf_is_in_the_store(store: Layout, tmp_path: Path) -> None:
    from wbrag.units.export import export_units

    out: Any = location(f"{store.path}/out/units.parquet")
    assert export_units(store, out, "parquet")["units"] == 10
    assert [file.name for file in listed(store.path / "out", "*")] == ["units.parquet"]
    assert not list(Path.cwd().glob("s3:*"))

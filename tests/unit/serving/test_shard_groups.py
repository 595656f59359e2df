"""The base in parts: the same hits as in one piece, or an error; never fewer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest

from tests.support.library import contents, index, published
from tests.support.releases import D, HashEncoder, library, passages, two_releases
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.config import load
from wbrag.core.errors import WbragError
from wbrag.retrieval.encoder import Encoder, Vectors, encoder_fingerprint
from wbrag.retrieval.hybrid import Words
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES, build_once
from wbrag.serving.shard_groups import Found, LocalGroup, share
from wbrag.units.layout import Layout
from wbrag.units.releases import Release


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return two_releases(Layout(tmp_path / "w", load()))


def groups(store: Layout, count: int) -> list[LocalGroup]:
    return [LocalGroup(store, cast(Encoder, HashEncoder()), number, count) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_find_what_the_whole_finds(store: Layout, count: int) -> None:
    whole, parts = library(store), library(store, groups=groups(store, count))
    asked = [contents(row) for row in passages("b", 40)] + [f"unit {i}\ndistilled {i}" for i in range(10)]

    async def scenario() -> None:
        for release in (store.release("none"), *store.releases.all()):
            await parts.prepare(release)
            for k in (1, 7, 60):
                assert await parts.search(asked, k, release) == await whole.search(asked, k, release)
            vectors = HashEncoder().encode_passages(asked)
            assert await parts.nearest(asked, vectors, 5, release) == await whole.nearest(asked, vectors, 5, release)

    asyncio.run(scenario())
    assert sorted(key.split()[0] for key in parts.shards.known) == ["writeback", "writeback"], "the base is theirs"


class Losing:
    """A group that leaves out its first shard, or has another release."""

    def __init__(self, group: LocalGroup, of: Release | None = None) -> None:
        self.group, self.of = group, of

    async def prepare(self, release: Release) -> None:
        await self.group.prepare(release)

    async def search(
        self, release: Release, vectors: Vectors, k: int, words: Words | None, allowed: Allowed = EVERYTHING
    ) -> Found:
        found = await self.group.search(self.of or release, vectors, k, words, allowed)
        return found if self.of else Found(found.shards[1:], found.hits)


def test_a_part_without_one_of_its_shards_is_an_error(store: Layout) -> None:
    first, second = groups(store, 2)
    release = store.releases.all()[-1]
    lib = library(store, groups=[first, Losing(second)])
    with pytest.raises(WbragError, match=r"expected hits of the shards base-1, found those of none: ask again"):
        asyncio.run(lib.search(["x"], 3, release))


def test_hits_of_another_base_are_an_error(store: Layout) -> None:
    """Every shard of a base is named by its contents, so a group that answers from another one is found out."""
    rows = passages("c", 9)
    vectors = HashEncoder().encode_passages([contents(row) for row in rows])
    encoder = store.config.encoder
    shard = build_once(store.path / "index", "other-0", "SQfp16", D, [(vectors, pa.Table.from_pylist(rows, PASSAGES))])
    other = store.path / "index" / "base-2.json"
    digest = Manifest(encoder_fingerprint(encoder), encoder.model, D, "SQfp16", (shard,)).write(other)
    release = store.releases.all()[-1]
    moved = replace(release, base_manifest="index/base-2.json", base_sha256=digest)
    [group] = groups(store, 1)
    assert asyncio.run(library(store, groups=[group]).search(["x"], 40, moved))
    lib = library(store, groups=[Losing(group, release)])
    with pytest.raises(WbragError, match="expected hits of the shards other-0, found those of base-0, base-1"):
        asyncio.run(lib.search(["x"], 3, moved))


def test_a_damaged_part_refuses_the_release(store: Layout) -> None:
    file = store.path / "index" / "base-1" / "vectors.faiss"
    assert isinstance(file, Path)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    lib = library(store, groups=groups(store, 2))
    with pytest.raises(WbragError, match="sha256"):
        asyncio.run(lib.prepare(store.releases.all()[0]))


def test_every_shard_is_in_one_part(store: Layout) -> None:
    manifest, _, _ = store.base()
    wide = replace(manifest, shards=tuple(replace(manifest.shards[0], folder=f"s{n}") for n in range(7)))
    for count in range(1, 9):
        found = [files.folder for number in range(count) for files in share(wide, number, count)]
        assert sorted(found) == [f"s{n}" for n in range(7)]


def test_a_rollback_to_another_base_is_told_to_every_part(store: Layout) -> None:
    """The retriever still had it open, so the parts held on to the base of the release that was rolled back."""
    rows = passages("c", 9)
    index(store, rows, HashEncoder().encode_passages([contents(row) for row in rows]), "base-second")
    first, later = store.releases.all()[-1], published(store)
    parts = groups(store, 2)
    lib = library(store, groups=parts)

    async def scenario() -> None:
        for release in (first, later, first):
            await lib.prepare(release)
        assert {part.releases._base for part in [*parts, lib]} == {first.base_sha256}  # type: ignore[attr-defined]
        for opened in (lib.releases, *(part.releases for part in parts)):
            opened.unused_s = 0.0
            opened._let_go()
            assert list(opened.tasks) == [" ".join(first.files)], "the base that answers was let go of"
        await parts[0].check()

    asyncio.run(scenario())

"""What no kept release needs goes, and what one needs stays: every kept release opens and finds what it found."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.library import contents, index, proposed, published
from tests.support.releases import HashEncoder, library, passages, two_releases
from wbrag.cli.main import main
from wbrag.core.config import load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.files import sha256_of
from wbrag.core.types import Hit
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.under_way import building, under_way
from wbrag.retrieval.index.vector_store import VectorStore, text_keys
from wbrag.units.governance import Governance
from wbrag.units.layout import Layout
from wbrag.units.release_contents import still_there, unit_ids
from wbrag.units.tidy import tidy

ASKED = ["b 7\nabout b 7", "c 3\nabout c 3", "unit 2\ndistilled 2", "unit 8\ndistilled 8"]


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    """Two releases over one base and a third over another, all of it written yesterday."""
    made = two_releases(Layout(tmp_path / "w", load()))
    rows = passages("c", 30)
    index(made, rows, HashEncoder().encode_passages([contents(row) for row in rows]), "base-second")
    published(made)
    (tmp_path / "w" / "corpus").mkdir()
    pq.write_table(
        pa.table({"id": ["c0"], "title": ["c 0"], "text": ["about c 0"]}), tmp_path / "w/corpus/part.parquet"
    )
    age(tmp_path / "w")
    return made


def age(folder: Path) -> None:
    yesterday = time.time() - 2 * 86_400
    for file in folder.rglob("*"):
        os.utime(file, (yesterday, yesterday))


def found(store: Layout, release: str) -> list[list[Hit]]:
    return asyncio.run(library(store).search(ASKED, 3, store.releases.get(release)))


def names(store: Layout) -> set[str]:
    assert isinstance(store.path, Path)
    return {file.name for file in (store.path / "index").iterdir() if file.suffix != ".lock"}


def test_kept_releases_find_what_they_found(store: Layout) -> None:
    before = {release.id: found(store, release.id) for release in store.releases.all()}
    there = names(store)
    assert tidy(store, keep=3)[0].files == 0 and names(store) == there, "all three need what is there"
    tidy(store, keep=2)
    assert {"base-0", "base-1", "base-1.json"} <= names(store)
    assert {id: found(store, id) for id in ("r0002", "r0003")} == {id: before[id] for id in ("r0002", "r0003")}
    planned = tidy(store, keep=1, dry_run=True)
    assert names(store) == there and planned[0].files > 4 and planned[0].bytes > 0
    assert tidy(store, keep=1)[0] == planned[0]
    assert names(store) & {"base-0", "base-1", "base-0.json", "base-1.json"} == set()
    assert found(store, "r0003") == before["r0003"]
    assert tidy(store, keep=1)[0].files == 0
    assert [release.id for release in store.releases.all()] == ["r0001", "r0002", "r0003"], "rows stay"


def test_a_release_that_was_let_go_of_is_not_gone_back_to(store: Layout) -> None:
    tidy(store, keep=1)
    with pytest.raises(WbragError, match="expected the files that r0001 answers from, found some of them let go of"):
        Governance(store).rollback("r0001", by="ana")
    assert len(store.releases.all()) == 3
    assert Governance(store).rollback("r0003", by="ana").id == "r0004"


def test_pages_of_units_stand_without_the_files_of_old_releases(store: Layout) -> None:
    governance = Governance(store)
    [id, *_] = store.shelf.ids()
    held, work = governance.unit(id).releases, governance.work()
    tidy(store, keep=1)
    again = Governance(store)
    assert again.unit(id).releases == held and again.work() == work
    shard = store.path / "index" / "units-gone"
    with pytest.raises(WbragError, match="let go of: choose a later release"):
        unit_ids(shard)


def test_a_proposal_whose_files_are_gone_is_not_appended(store: Layout) -> None:
    proposal = proposed(store)
    next_one = replace(proposal, number=4, id="r0004", writeback_manifest="index/writeback-gone.json")
    with pytest.raises(WbragError, match="expected the files that r0004 answers from"):
        still_there(store, next_one)
    still_there(store, proposal)


def test_nothing_goes_while_an_index_is_built(store: Layout) -> None:
    there = names(store)
    with (
        under_way(store.path / "index"),
        pytest.raises(UsageError, match="expected no index to be built, found one by"),
    ):
        tidy(store, keep=1)
    assert names(store) == there and building(store.path / "index") == ""


def test_the_index_in_use_stays_whatever_the_settings_search(store: Layout) -> None:
    outside = {"kind": "http", "options": {"url": "http://127.0.0.1:9"}}
    other = Layout(store.path, load(retriever=outside, encoder={"max_tokens": 64}))
    (store.path / "embeddings" / encoder_fingerprint(store.config.encoder)).mkdir(parents=True)  # type: ignore[union-attr]
    needed = store.path / "embeddings" / encoder_fingerprint(store.config.encoder) / "p.npy"
    assert isinstance(needed, Path)
    needed.write_bytes(b"vectors")
    age(Path(str(store.path)))
    tidy(other, keep=1)
    assert {"base-second-0", "base-second-1", "base-second-1.json"} <= names(store) and needed.is_file()
    tidy(Layout(store.path, load(encoder={"max_tokens": 64})), keep=1)
    assert needed.is_file(), "the encoder of the index in use"


def test_a_corpus_that_is_away_says_nothing_of_its_vectors(store: Layout) -> None:
    folder = store.path / "embeddings" / encoder_fingerprint(store.config.encoder)
    assert isinstance(folder, Path)
    folder.mkdir(parents=True)
    VectorStore(folder).keep("pack", text_keys(["c 0"]), np.ones((1, 4), np.float32))
    age(folder)
    (store.path / "corpus" / "part.parquet").unlink()
    tidy(store)
    assert (folder / "pack.npy").is_file()


def test_what_is_young_or_of_others_stays(store: Layout) -> None:
    root = store.path / "index"
    assert isinstance(root, Path)
    os.utime(root / "base-0" / "vectors.faiss")
    (root / "library-1").mkdir()
    (root / "library-1" / "vectors.faiss").write_bytes(b"a suite's")
    age(root / "library-1")
    tidy(store, keep=1)
    assert (root / "base-0" / "vectors.faiss").is_file() and (root / "library-1" / "vectors.faiss").is_file()
    assert (root / "base-0" / "passages.arrow").is_file(), "one young file keeps the others of its shard"
    assert (root / "base-0.json").is_file() and not (root / "base-1").exists()


def test_vectors_of_the_corpus_stay_and_others_go(store: Layout) -> None:
    present, folder = encoder_fingerprint(store.config.encoder), store.path / "embeddings"
    assert isinstance(folder, Path)
    for encoder in (present, "another"):
        for name, texts in {"needed": ["c 0\nabout c 0", "gone"], "gone": ["gone", "gone too"]}.items():
            (folder / encoder).mkdir(parents=True, exist_ok=True)
            VectorStore(folder / encoder).keep(name, text_keys(texts), np.ones((2, 4), np.float32))
    (folder / "keys").mkdir()
    part = sha256_of(store.path / "corpus" / "part.parquet")
    np.save(folder / "keys" / "before.npy", np.zeros((1, 4), np.uint64))
    age(folder)
    tidy(store)
    left = {str(file.relative_to(folder)) for file in folder.rglob("*.npy")}
    assert left == {f"{present}/{name}{end}" for name in ("needed", "gone") for end in (".npy", ".keys.npy")}, (
        "which packs a corpus needs is known once it was indexed"
    )
    (folder / "keys").mkdir(exist_ok=True)
    np.save(folder / "keys" / f"{part}.npy", np.hstack([text_keys(["c 0\nabout c 0"]), np.zeros((1, 2), np.uint64)]))
    tidy(store)
    left = {str(file.relative_to(folder)) for file in folder.rglob("*.npy")}
    assert left == {f"keys/{part}.npy", f"{present}/needed.npy", f"{present}/needed.keys.npy"}


def test_units_of_every_release_are_read_after_their_table_was_written_anew(store: Layout) -> None:
    pinned = {r.id: (r.units_version, store.shelf.units(version=r.units_version)) for r in store.releases.all()}
    files = len(list(Path(str(store.shelf.folder)).glob("*.parquet")))
    assert files > 1 and store.shelf.tidy([v for v, _ in pinned.values()], files=2)
    assert all(store.shelf.units(version=version) == units for version, units in pinned.values())
    assert store.shelf.units() == pinned["r0003"][1] and store.shelf.version > pinned["r0003"][0]


def test_versions_that_are_gone_keep_no_table_from_being_tidied(store: Layout) -> None:
    """A table that was made anew begins at version 0 again; releases still name versions of before."""
    assert store.shelf.tidy([0, 99, -1], files=2)
    assert len(store.shelf.units(version=0)) == 5


def test_the_verb_says_what_would_go(store: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tidy", "--keep", "1", "--dry-run", "--json", "--workspace", str(store.path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told[0]["would go"] == "files of indexes and releases" and told[0]["files"] > 4
    with pytest.raises(UsageError, match="at least 1 release"):
        tidy(store, keep=0)

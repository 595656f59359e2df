"""Tidying: files that no kept release, and nothing in use, needs any more are let go of; tables are put in few files.

A release stays a row for ever, and so does the manifest of its units; what it answers from stays as long as it is among
those that are kept. What is younger than `GRACE_H` stays too: a publish may be testing a release of it. While an index
is being built nothing is let go of.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wbrag.core.errors import UsageError
from wbrag.core.io.append_log import MANY_FILES
from wbrag.core.io.files import Location, inside, listed
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.external import is_external
from wbrag.retrieval.index.manifest import SHARES, TRAINED, Manifest
from wbrag.retrieval.index.under_way import building
from wbrag.retrieval.index.vector_store import ENDING, VectorStore, load
from wbrag.retrieval.keywords.index import part_name
from wbrag.retrieval.keywords.statistics import FINISHED
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

GRACE_H = 24.0  # a release is tested within a day
# What indexing and publishing put into index/, but for units' manifests.
MADE = ("base-", "units-", "statistics-", TRAINED)
KEYS, PACKS = "keys", "embeddings"


@dataclass(frozen=True)
class LetGo:
    """What was let go of, or would be: files of one kind."""

    what: str
    files: int
    bytes: int


def tidy(layout: Layout, keep: int = 3, *, dry_run: bool = False) -> list[LetGo]:
    """Keep what the newest `keep` releases answer from, the index in use, and vectors of the corpus as it is.

    Raises `UsageError` for fewer than one release and while an index is built, `WbragError` where a kept release cannot
    be read: then nothing is let go of.
    """
    if keep < 1:
        raise UsageError(f"expected to keep at least 1 release, found {keep}: the newest one answers")
    if by := building(layout.path / "index"):
        raise UsageError(f"expected no index to be built, found {by}: let it finish, or remove it where none runs")
    kept, root = layout.releases.all()[-keep:], layout.path / "index"
    manifests = list(_manifests(layout, kept))
    named = {name for path, manifest in manifests for name in (Path(path).name, *_parts(manifest))} | _shared(root)
    encoders = {manifest.encoder for _, manifest in manifests}
    found = {
        "files of indexes and releases": [f for f in _files(root) if _own(f, root) not in named],
        "vectors of other encoders and passages": list(_vectors(layout, encoders)),
    }
    done = []
    for what, files in found.items():
        old = _old(files, root if what.startswith("files") else layout.path / PACKS)
        if not dry_run:
            _remove(file for file, _ in old)
        done.append(LetGo(what, len(old), sum(size for _, size in old)))
    return [*done, _tables(layout, dry_run)]


def _manifests(layout: Layout, kept: Iterable[Release]) -> Iterator[tuple[str, Manifest]]:
    """Those that kept releases answer from, and that of the index in use, whatever the settings search now."""
    pointed = {(release.base_manifest, release.base_sha256) for release in kept}
    pointed |= {(release.writeback_manifest, release.writeback_sha256) for release in kept}
    pointer = layout.path / "index" / "base.json"
    if pointer.is_file():
        found = json.loads(pointer.read_text(encoding="utf-8"))
        pointed.add((found["manifest"], found["sha256"]))
    for path, sha256 in sorted(pointed):
        if path:
            yield path, Manifest.read(layout.path / path, sha256)


def _shared(root: Location) -> set[str]:
    """The empty index that shards of the next base index are filled from, as those of the last were."""
    file = root / SHARES
    found = json.loads(file.read_text(encoding="utf-8")).get("training") if file.is_file() else None
    return {found["name"]} if found else set()


def _parts(manifest: Manifest) -> Iterator[str]:
    for files in manifest.shards:
        yield files.folder
        yield from (part_name(f"{of}-terms", files.sha256) for of in ("base", "units"))  # what its words are weighed by
    if manifest.keywords:
        yield manifest.keywords.statistics.folder
        yield from (files.folder for files in manifest.keywords.shards)


def _files(root: Location) -> list[Location]:
    """What proves that a folder is finished goes first, its record or the last of its files."""
    plain, deep = ([f for f in listed(root, pattern) if _is_file(f)] for pattern in ("*", "*/*"))
    deep.sort(key=lambda file: file.name != FINISHED)
    return [file for file in [*plain, *deep] if _own(file, root).startswith(MADE) and file.name != "base.json"]


def _own(file: Location, root: Location) -> str:
    """What a file belongs to: its folder, the folder that it is the record of, or itself where it is a manifest."""
    first, _, rest = inside(file, root).partition("/")
    if rest or not first.endswith(".json"):
        return first
    return first.removesuffix(".json") if (root / first.removesuffix(".json")).is_dir() else first


def _vectors(layout: Layout, needed: Collection[str]) -> Iterator[Location]:
    """Packs of encoders that neither settings nor `needed` name, and packs without a passage of the corpus."""
    parts = set(layout.corpus_parts().values())
    if not parts or is_external(layout.config):  # a corpus that is away says nothing of what it needs
        return
    folder, present = layout.path / PACKS, encoder_fingerprint(layout.config.encoder)
    keys = folder / KEYS
    for file in listed(folder, "*/*"):
        owner = inside(file, folder).partition("/")[0]
        other = file.name.removesuffix(".npy") not in parts if owner == KEYS else owner not in {present, *needed}
        if _is_file(file) and other:
            yield file
    known = [load(keys / f"{part}.npy")[:, :2] for part in sorted(parts) if (keys / f"{part}.npy").is_file()]
    if len(known) < len(parts):  # the corpus was never indexed as it is: which packs it needs is not known
        return
    store = VectorStore(folder / present)
    places = store.places(np.concatenate(known))
    used = {places.packs[number] for number in np.unique(places.pack[places.known]).tolist()}
    for name in places.packs:
        if name not in used:
            yield from (store.folder / f"{name}{ending}" for ending in (ENDING, ".npy"))


def _tables(layout: Layout, dry_run: bool) -> LetGo:
    """Few files a table; older versions of the units stay where a release names them."""
    shelf = layout.path / "shelf"
    before = _weight(shelf)
    if not dry_run:
        tidy_tables(layout, files=2)
        layout.usage.tidy(files=2)
    after = _weight(shelf)
    return LetGo("rows of tables that were written anew", max(0, before[0] - after[0]), max(0, before[1] - after[1]))


def tidy_tables(layout: Layout, files: int = MANY_FILES) -> None:
    """What publishing appends to, where it lies in `files` or more."""
    with layout.decisions.held():
        layout.decisions.log.tidy(files)
    layout.results.log.tidy(files)
    layout.shelf.tidy([release.units_version for release in layout.releases.all()], files)


def _weight(folder: Location) -> tuple[int, int]:
    sizes = list[int]()
    for file in listed(folder, "**/*.parquet"):
        with suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)
    return len(sizes), sum(sizes)


def _old(files: Iterable[Location], root: Location) -> list[tuple[Location, int]]:
    """Those whose owner has no file that is younger than `GRACE_H`, with their bytes."""
    before, found, young = time.time() - GRACE_H * 3600, list[tuple[Location, int]](), set[str]()
    for file in files:
        with suppress(FileNotFoundError):
            stat = file.stat()
            found.append((file, stat.st_size))
            if stat.st_mtime >= before:
                young.add(_owner(file, root))
    return [(file, size) for file, size in found if _owner(file, root) not in young]


def _owner(file: Location, root: Location) -> str:
    """A pack is its vectors and its keys."""
    if root.name == PACKS:
        return str(file).removesuffix(".npy").removesuffix(".keys")
    return _own(file, root)


def _remove(files: Iterable[Location]) -> None:
    folders: set[Path] = set()
    for file in files:
        file.unlink(missing_ok=True)
        if isinstance(file, Path):
            folders.add(file.parent)
    for folder in folders:
        with suppress(OSError):  # others' files are in it
            folder.rmdir()


def _is_file(file: Location) -> bool:
    return not isinstance(file, Path) or file.is_file()

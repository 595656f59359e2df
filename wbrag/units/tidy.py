"""Tidying: files that no kept release, and nothing in use, needs any more are let go of; tables are put in few files.

A release stays a row for ever; what it answers from stays as long as it is among those that are kept. What is younger
than an hour stays too: somebody may be building on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.append_log import KEPT_H
from wbrag.core.io.files import Location, inside, listed
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.external import is_external
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.vector_store import ENDING, VectorStore, load
from wbrag.retrieval.keywords.index import part_name
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

MADE = ("base-", "units-", "writeback-", "statistics-")  # what indexing and publishing put into index/
KEYS, PACKS = "keys", "embeddings"


@dataclass(frozen=True)
class LetGo:
    """What was let go of, or would be: files of one kind."""

    what: str
    files: int
    bytes: int


def tidy(layout: Layout, keep: int = 3, *, dry_run: bool = False) -> list[LetGo]:
    """Keep what the newest `keep` releases answer from, the index in use, and vectors of the corpus as it is.

    Raises `UsageError` for fewer than one release, `WbragError` where a kept release cannot be read: then nothing is
    let go of.
    """
    if keep < 1:
        raise UsageError(f"expected to keep at least 1 release, found {keep}: the newest one answers")
    kept = layout.releases.all()[-keep:]
    root, before = layout.path / "index", time.time() - KEPT_H * 3600
    named = _named(layout, kept)
    found = {
        "files of indexes and releases": [f for f in _files(root) if _own(f, root) not in named],
        "vectors of other encoders and passages": list(_vectors(layout, kept)),
    }
    done = []
    for what, files in found.items():
        old = [(file, size) for file in files if (size := _older(file, before)) is not None]
        if not dry_run:
            _remove(file for file, _ in old)
        done.append(LetGo(what, len(old), sum(size for _, size in old)))
    return [*done, _tables(layout, dry_run)]


def _named(layout: Layout, kept: Iterable[Release]) -> set[str]:
    """The names in index/ that kept releases and the index in use answer from."""
    pointed = [(release.base_manifest, release.base_sha256) for release in kept]
    pointed += [(release.writeback_manifest, release.writeback_sha256) for release in kept]
    if not is_external(layout.config) and (layout.path / "index" / "base.json").is_file():
        pointer = json.loads((layout.path / "index" / "base.json").read_text(encoding="utf-8"))
        pointed.append((pointer["manifest"], pointer["sha256"]))
    found: set[str] = set()
    for path, sha256 in set(pointed):
        if path:
            manifest = Manifest.read(layout.path / path, sha256)
            found |= {Path(path).name, *_parts(manifest)}
    return found


def _parts(manifest: Manifest) -> Iterator[str]:
    for files in manifest.shards:
        yield files.folder
        yield from (part_name(f"{of}-terms", files.sha256) for of in ("base", "units"))  # what its words are weighed by
    if manifest.keywords:
        yield manifest.keywords.statistics.folder
        yield from (files.folder for files in manifest.keywords.shards)


def _files(root: Location) -> list[Location]:
    """Records first: a folder without its record is not taken for a finished one."""
    plain, deep = ([f for f in listed(root, pattern) if _is_file(f)] for pattern in ("*", "*/*"))
    return [file for file in [*plain, *deep] if _own(file, root).startswith(MADE) and file.name != "base.json"]


def _own(file: Location, root: Location) -> str:
    """What a file belongs to: its folder, the folder that it is the record of, or itself where it is a manifest."""
    first, _, rest = inside(file, root).partition("/")
    if rest or not first.endswith(".json"):
        return first
    return first.removesuffix(".json") if (root / first.removesuffix(".json")).is_dir() else first


def _vectors(layout: Layout, kept: Iterable[Release]) -> Iterator[Location]:
    """Packs of encoders that neither settings nor kept releases name, and packs without a passage of the corpus."""
    if is_external(layout.config):
        return
    folder, present = layout.path / PACKS, encoder_fingerprint(layout.config.encoder)
    wanted = {present, *(release.encoder for release in kept)}
    parts = set(layout.corpus_parts().values())
    keys = folder / KEYS
    for file in listed(folder, "*/*"):
        owner = inside(file, folder).partition("/")[0]
        gone = file.name.removesuffix(".npy") not in parts if owner == KEYS else owner not in wanted
        if _is_file(file) and gone:
            yield file
    known = [load(keys / f"{part}.npy")[:, :2] for part in sorted(parts) if (keys / f"{part}.npy").is_file()]
    if len(known) < len(parts):  # the corpus was never indexed as it is: which packs it needs is not known
        return
    store = VectorStore(folder / present)
    places = store.places(np.concatenate(known) if known else np.empty((0, 2), np.uint64))
    used = {places.packs[number] for number in np.unique(places.pack[places.known]).tolist()}
    for name in places.packs:
        if name not in used:
            yield from (store.folder / f"{name}{ending}" for ending in (ENDING, ".npy"))


def _tables(layout: Layout, dry_run: bool) -> LetGo:
    """Few files a table; older versions of the units stay where a release names them."""
    shelf = layout.path / "shelf"
    before = _weight(shelf)
    if not dry_run:
        for log in (layout.decisions.log, layout.results.log, layout.usage.answers, layout.usage.feedback):
            log.tidy(files=2)
        layout.shelf.tidy([release.units_version for release in layout.releases.all()], files=2)
    after = _weight(shelf)
    return LetGo("rows of tables that were written anew", max(0, before[0] - after[0]), max(0, before[1] - after[1]))


def _weight(folder: Location) -> tuple[int, int]:
    sizes = [size for file in listed(folder, "**/*.parquet") if (size := _older(file, float("inf"))) is not None]
    return len(sizes), sum(sizes)


def _older(file: Location, than: float) -> int | None:
    """The bytes of a file that is older; None for a younger one, and one that is gone."""
    with suppress(FileNotFoundError):
        found = file.stat()
        return found.st_size if found.st_mtime < than else None
    return None


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


def still_there(layout: Layout, release: Release) -> None:
    """Raises `WbragError` where files that `release` answers from were let go of."""
    root, pointed = layout.path / "index", [release.base_manifest, release.writeback_manifest]
    try:
        manifests = [Manifest.read(layout.path / path) for path in pointed if path]
        gone = [f for m in manifests for f in m.shards for name in f.sha256 if not (root / f.folder / name).is_file()]
    except WbragError:
        gone = [None]  # type: ignore[list-item]
    if gone:
        raise WbragError(
            f"expected the files that {release.id} answers from, found some of them let go of: choose a later release, "
            "or approve its units again and publish"
        )

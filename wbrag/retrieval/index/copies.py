"""Local copies: folders of an object store on this machine's disk, named by their checksums and verified.

Memory maps and FAISS need this machine's disk; a damaged copy is fetched again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, cache_folder, folder_in_one_step, locked
from wbrag.retrieval.index.manifest import ShardFiles, verify

T = TypeVar("T")


def with_copy(root: Location, files: ShardFiles, cache: Path | None, read: Callable[[Path, ShardFiles], T]) -> T:
    """What `read`, which compares checksums, makes of a folder of `root`; a copy that is damaged is fetched again."""
    if cache is None:
        if isinstance(root, Path):
            return read(root, files)
        cache = cache_folder() / "shards"
    copy = replace(files, folder=shard_name(files))
    with locked(cache / f".{copy.folder}.lock"):  # the processes of one machine share the cache
        try:
            return read(cache, copy)
        except WbragError:
            _fetch(root / files.folder, copy, cache)
            return read(cache, copy)


def shard_name(files: ShardFiles) -> str:
    """Equal for shards of equal contents."""
    return fingerprint(files.count, files.sha256)


def _fetch(shared: Location, copy: ShardFiles, cache: Path) -> None:
    """Copy the files of the folder `shared`; raises `WbragError` where one of them is not what the manifest says."""
    with folder_in_one_step(cache / copy.folder) as scratch:
        for name in copy.sha256:
            source, place = shared / name, scratch / name
            if not source.is_file():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, Path):
                shutil.copyfile(source, place)
            else:
                source.fetch(place)
        verify(scratch.parent, replace(copy, folder=scratch.name), of=shared)

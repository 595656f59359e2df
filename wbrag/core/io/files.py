"""File layer: local paths and s3:// or gs:// ones (`Location`), atomic writes, locks and checksums.

A file or a folder appears whole or not at all. A local `Location` is a plain `pathlib.Path`; the modules of an
`ObjectPath` are imported only where there is one. An object store has no rename: what goes there is made in a local
scratch folder and uploaded once it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from wbrag.core.io.durable import make_folder, sync, sync_tree

if TYPE_CHECKING:
    from wbrag.core.io.objects import ObjectPath

Location: TypeAlias = "Path | ObjectPath"

HASH_WHOLE_BYTES = 64 << 20  # of a larger file of weights samples are hashed
SAMPLE_BYTES = 1 << 20
UNHASHED_FILES = {"quality.json", "recipe.json", "README.md"}  # files about a model that decide no answer


def location(text: str | Path | ObjectPath) -> Location:
    """`text` as a path, wherever it leads. Raises `UsageError` for a scheme that wbrag does not know."""
    if isinstance(text, str) and "://" in text:
        from wbrag.core.io.objects import ObjectPath

        return ObjectPath.parse(text)
    return Path(text) if isinstance(text, str) else text


def inside(path: Location, folder: Location) -> str:
    """The path from `folder` to `path`, which lies below it."""
    return str(path).removeprefix(f"{folder}/")


def listed(folder: Location, pattern: str) -> list[Location]:
    """The files below `folder` that match, in the order of their names; none where there is no such folder."""
    return sorted(folder.glob(pattern), key=str)


def opened(path: Location) -> Any:
    """What pyarrow's readers take for one file: its name where it is local, else a file that is read by ranges."""
    return str(path) if isinstance(path, Path) else path.open_arrow()


def cache_folder() -> Path:
    """The folder of this machine for what can be fetched again: `$XDG_CACHE_HOME/wbrag`, or `~/.cache/wbrag`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wbrag"


def sha256_of(path: Location) -> str:
    with path.open("rb") if isinstance(path, Path) else path.open_binary() as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder`, by its path in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256_of(file) for file in files}


def model_contents(folder: Path) -> list[tuple[str, str]]:
    """Name and digest of every file of a model folder that decides what the model does.

    Of weights from `HASH_WHOLE_BYTES` three samples and the size count: two checkpoints of one model differ there.
    """
    names = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    deciding = [
        name for name in names if name.name not in UNHASHED_FILES and not any(p.startswith(".") for p in name.parts)
    ]
    return [(str(name), _digest(folder / name)) for name in deciding]


def _digest(file: Path) -> str:
    size = file.stat().st_size
    if size < HASH_WHOLE_BYTES:
        return sha256_of(file)
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        for start in (0, size // 2, size - SAMPLE_BYTES):
            opened.seek(start)
            digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


@contextmanager
def file_in_one_step(path: Location) -> Iterator[Path]:
    """A local scratch file that takes its place at `path` if the block succeeds, and vanishes if it does not.

    It is on the disk when the block has ended, and so is its name.
    """
    if not isinstance(path, Path):
        with _scratch_folder() as folder:
            yield folder / path.name
            path.put(folder / path.name)
        return
    make_folder(path.parent)
    scratch = path.parent / f".{path.name}.{uuid4().hex[:8]}.tmp"
    try:
        yield scratch
        put(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def put(file: Path, path: Location) -> None:
    """Move the local `file` to `path` in one step; both are on one disk where `path` is local."""
    if isinstance(path, Path):
        sync(file)
        os.replace(file, path)
        sync(path.parent)
    else:
        path.put(file)


def write_atomically(path: Location, text: str) -> None:
    """All of `text` or nothing at `path`, also after a crash."""
    with file_in_one_step(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


@contextmanager
def locked(path: Location) -> Iterator[None]:
    """One process at a time inside the block; the lock goes with its holder, however that ends.

    On a shared disk that holds for every machine. For a path in an object store it holds for the processes of this
    machine alone: between machines the commits of the Delta tables decide: see `AppendLog.append`.
    """
    if not isinstance(path, Path):
        path = cache_folder() / "locks" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def folder_in_one_step(path: Location) -> Iterator[Path]:
    """A local scratch folder that becomes `path` if the block succeeds, and vanishes if it does not.

    In an object store its files appear one after the other, so that whatever makes the folder valid (a record, a
    manifest) must be written after it, as it is for a shard.
    """
    if not isinstance(path, Path):
        with _scratch_folder() as folder:
            yield folder
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                (path / str(file.relative_to(folder))).put(file)
        return
    make_folder(path.parent)
    scratch = path.parent / f".{path.name}.{uuid4().hex[:8]}"
    scratch.mkdir()  # with the modes that the umask says: mkdtemp's would shut other users out of what it becomes
    try:
        yield scratch
        sync_tree(scratch)
        if path.exists():
            shutil.rmtree(path)
        scratch.rename(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder on this machine, on the disk of TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="wbrag-") as folder:
        yield Path(folder)

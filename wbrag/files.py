"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

READ_IN_PASSING = 64 << 20  # bytes
PIECE = 1 << 20
NO_WEIGHTS = {"quality.json", "recipe.json", "README.md"}  # files about a model that decide no answer


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_contents(folder: Path) -> list[tuple[str, str]]:
    """Name and digest of every file of a model folder that decides what the model does.

    Of weights too large to read in passing three pieces and the size count: two checkpoints of one model differ there.
    """
    names = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    deciding = [
        name for name in names if name.name not in NO_WEIGHTS and not any(p.startswith(".") for p in name.parts)
    ]
    return [(str(name), _digest(folder / name)) for name in deciding]


def _digest(file: Path) -> str:
    size = file.stat().st_size
    if size < READ_IN_PASSING:
        return sha256_of(file)
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        for start in (0, size // 2, size - PIECE):
            opened.seek(start)
            digest.update(opened.read(PIECE))
    return digest.hexdigest()


@contextmanager
def file_in_one_step(path: Path) -> Iterator[Path]:
    """A scratch file beside `path` that takes its place if the block succeeds, and vanishes if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.parent / f".{path.name}.{uuid4().hex[:8]}.tmp"
    try:
        yield scratch
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """All of `text` or nothing at `path`, also after a crash."""
    with file_in_one_step(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time inside the block; the lock goes with its holder, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def folder_in_one_step(path: Path) -> Iterator[Path]:
    """A scratch folder that becomes `path` if the block succeeds, and vanishes if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield scratch
        if path.exists():
            shutil.rmtree(path)
        scratch.rename(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise

"""Staging: what an ingest writes lies in a scratch folder until all of it is there, and takes its place in one step."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from wbrag.core.errors import StoreError, WbragError
from wbrag.core.io.durable import sync, sync_tree
from wbrag.core.io.files import Location, write_atomically
from wbrag.core.io.parquet import REPLACING

if TYPE_CHECKING:
    from wbrag.core.io.objects import ObjectPath


@contextmanager
def staging(target: Location) -> Iterator[Path]:
    """A local folder; beside a local `target`, so that a rename can end the work; gone afterwards.

    What a killed ingest of the same target left is removed: the lock on such a folder ends with its process.
    """
    if isinstance(target, Path):
        clear_left(target)
        folder = target.parent / f".{target.name}.{uuid4().hex[:8]}.tmp"
    else:
        folder = Path(tempfile.mkdtemp(prefix="wbrag-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    except StoreError:
        raise
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise WbragError(f"cannot write {target}: {reason}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_left(target: Location) -> None:
    """Remove what killed ingests of `target` left, and bring back what one of them had put aside."""
    if isinstance(target, Path):
        for left in target.parent.glob(f".{target.name}.*.tmp"):
            _clear(left, target)


def _clear(folder: Path, target: Path) -> None:
    """Remove what a killed ingest left; killed between its two renames, it left the earlier corpus there alone."""
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / "old").exists() and not target.exists():
                os.rename(folder / "old", target)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # at work, or another's: the lock says so, or there is none
        return


def check_replaceable(target: Location) -> None:
    """Replacing a folder deletes what is in it, so it must hold nothing but an earlier corpus."""
    if target.exists() and not target.is_dir():
        raise WbragError(f"{target}: expected a folder to write the corpus to, found a file")
    others = [f.name for f in target.glob("*") if not fnmatch(f.name, "part-*.parquet") and f.name != REPLACING]
    if others:
        raise WbragError(
            f"{target}: expected a new folder or an earlier corpus, found {others[0]}; choose another folder"
        )


def replace_folder(new: Path, target: Location, old: Path) -> None:
    """`new` takes the place of `target`; meanwhile what was there lies at `old`."""
    if not isinstance(target, Path):
        upload(new, target)
        return
    try:
        sync_tree(new)
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
        sync(target.parent)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise


def upload(new: Path, target: ObjectPath, kept: Collection[str] = ()) -> None:
    """Files change one after the other there, so until all have, a mark keeps anybody from reading half of each.

    Those that are `kept` stay as they are.
    """
    mark = target / REPLACING
    write_atomically(mark, "the corpus is being replaced\n")
    changed = sorted(new.iterdir())
    for file in changed:
        (target / file.name).put(file)
    for stale in target.glob("part-*.parquet"):
        if stale.name not in {*kept, *(file.name for file in changed)}:
            stale.unlink()
    mark.unlink()

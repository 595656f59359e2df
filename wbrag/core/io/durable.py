"""Durability: what a command or a page has confirmed survives a power loss.

A write is in the page cache until fsync, and a new name is in its folder's until the folder's own: without either a
file may come back empty, or not at all. Object stores see to that themselves.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # some network file systems sync no folder


def sync(path: Path) -> None:
    """Put a file's contents, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() or error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Put everything below `folder` on the disk, names last."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(parent, name))
        sync(Path(parent))


def make_folder(folder: Path) -> None:
    """`mkdir` with its parents, each of which is on the disk when it ends."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync(made.parent)

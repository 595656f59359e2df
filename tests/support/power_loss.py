"""A disk that loses power: of what was written, only what was synced is there afterwards.

`Disk` watches `os.fsync`. A file comes back with the contents that it had when it was last synced, under the names that
its folder had when that was; one whose name is on the disk and whose contents never were comes back empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch


class Disk:
    """What is durable below `root`, by inode."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[int, bytes] = {}
        self.names: dict[int, dict[str, tuple[int, bool]]] = {}
        self.count = 0
        for folder, _, files in os.walk(root):  # what was there before is on the disk
            self._take(Path(folder))
            for name in files:
                self._take(Path(folder, name))

    @contextmanager
    def watched(self) -> Iterator[Disk]:
        real = os.fsync

        def fsync(handle: int) -> None:
            real(handle)
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if path.is_relative_to(self.root):
                self.count += 1
                self._take(path)

        with patch("os.fsync", fsync):
            yield self

    def _take(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            entries = [(e.name, e.inode(), e.is_dir(follow_symlinks=False)) for e in os.scandir(path)]
            self.names[inode] = {name: (of, folder) for name, of, folder in entries}
        else:
            self.files[inode] = path.read_bytes()

    def after_power_loss(self, target: Path) -> Path:
        """What the disk holds, written to `target`."""
        self._restore(self.root.stat().st_ino, target)
        return target

    def _restore(self, inode: int, target: Path) -> None:
        target.mkdir(parents=True)
        for name, (of, folder) in self.names.get(inode, {}).items():
            if folder:
                self._restore(of, target / name)
            else:
                (target / name).write_bytes(self.files.get(of, b""))

"""A small file that others write: read again when it changes, in an object store a moment later.

No request waits for the network because of it: only the first look does.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from wbrag.core.io.files import Location

if TYPE_CHECKING:
    from wbrag.core.io.objects import ObjectPath

log = logging.getLogger(__name__)
FRESH_S = 2.0
T = TypeVar("T")


class Watched(Generic[T]):
    """What `read` makes of the file at `path`; `missing` where there is none."""

    def __init__(self, path: Location, read: Callable[[Location], T], missing: T) -> None:
        self.path, self.read, self.missing = path, read, missing
        self._value, self._generation = missing, 0
        self._seen: tuple[int, int, int] | None = None
        self._read_at = -math.inf  # time.monotonic()
        self._reading, self._state = threading.Lock(), threading.Lock()

    def value(self) -> T:
        """As the file is now, or was at most `FRESH_S` ago in an object store. Raises what `read` raises."""
        return self._of_file(self.path) if isinstance(self.path, Path) else self._of_store(self.path)

    def forget(self) -> None:
        """The next look reads the file, whatever is known or being read."""
        with self._state:
            self._generation += 1
            self._read_at, self._seen = -math.inf, None

    def _of_file(self, path: Path) -> T:
        try:
            found = path.stat()
        except FileNotFoundError:
            self._seen, self._value = None, self.missing
            return self._value
        state = (found.st_ino, found.st_mtime_ns, found.st_size)
        if state != self._seen:
            self._value, self._seen = self.read(path), state
        return self._value

    def _of_store(self, path: ObjectPath) -> T:
        """For as long as a store that was read before is away, what was read last holds on."""
        with self._state:
            first, generation = self._read_at == -math.inf, self._generation
            stale = time.monotonic() - self._read_at > FRESH_S
        if first:
            with self._reading:
                self._take(path, generation)
        elif stale and self._reading.acquire(blocking=False):
            threading.Thread(target=self._take_quietly, args=(path, generation), daemon=True).start()
        with self._state:
            return self._value

    def _take(self, path: ObjectPath, generation: int) -> None:
        found = self.read(path) if path.is_file() else self.missing
        with self._state:
            self._value = found
            if generation == self._generation:  # else somebody has written meanwhile: the next look reads again
                self._read_at = time.monotonic()

    def _take_quietly(self, path: ObjectPath, generation: int) -> None:
        try:
            self._take(path, generation)
        except Exception as error:
            log.warning("%s could not be read again: %s", path, " ".join(str(error).split())[:200])
            with self._state:
                self._read_at = time.monotonic() if generation == self._generation else self._read_at
        finally:
            self._reading.release()

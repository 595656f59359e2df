"""A small file in an object store: what this process has written is seen at once, whatever was being read."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from wbrag.core.io import watched
from wbrag.core.io.watched import Watched


class Store:
    """A path that is no local one; a slow read is held until `go` is set."""

    def __init__(self) -> None:
        self.content, self.go, self.begun = 1, threading.Event(), threading.Event()

    def is_file(self) -> bool:
        return True


def test_a_look_that_began_before_a_write_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "FRESH_S", -1.0)
    store: Any = Store()
    slow = [False]

    def read(path: Any) -> int:
        found = int(path.content)
        if slow[0]:
            path.begun.set()
            path.go.wait(20)
        return found

    file = Watched[int](store, read, 0)
    assert file.value() == 1
    slow[0] = True
    file.value()  # begins to read again in the background
    assert store.begun.wait(20)
    slow[0], store.content = False, 2
    file.forget()
    store.go.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(0.5)
    assert file.value() == 2


def test_a_store_that_is_away_keeps_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "FRESH_S", -1.0)
    store: Any = Store()
    broken = [False]

    def read(path: Any) -> int:
        if broken[0]:
            raise OSError("away")
        return int(path.content)

    file = Watched[int](store, read, 0)
    assert file.value() == 1
    broken[0] = True
    for _ in range(3):
        assert file.value() == 1
    with pytest.raises(OSError, match="away"):
        Watched[int](store, read, 0).value()

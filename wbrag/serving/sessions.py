"""Sessions of the pages that ended before their time: WORKSPACE/sessions_ended.json, read by every replica.

A cookie is signed and holds its session's id. Logging out writes that id down, so that a copy of the cookie is worth
nothing from then on, at every replica.
"""

from __future__ import annotations

import json
import re
import secrets
import time

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, file_in_one_step, locked
from wbrag.core.io.watched import Watched

SESSION_S = 12 * 3600


class EndedSessions:
    """The ids of sessions that were logged out, for as long as their cookies would be valid."""

    def __init__(self, workspace: Location) -> None:
        self.path = workspace / "sessions_ended.json"
        self.watched = Watched[dict[str, float]](self.path, _read, {})

    def __contains__(self, id: str) -> bool:
        return id in self.watched.value()

    def end(self, id: str) -> None:
        """From now on `id` opens nothing."""
        with locked(self.path.with_suffix(".lock")):
            self.watched.forget()
            live = {one: at for one, at in self.watched.value().items() if at > time.time() - SESSION_S}
            with file_in_one_step(self.path) as scratch:
                scratch.touch(mode=0o600)
                scratch.write_text(json.dumps(live | {id: time.time()}) + "\n", encoding="utf-8")
            self.watched.forget()


def new_id() -> str:
    """Of a session that begins."""
    return secrets.token_urlsafe(16)


def _read(path: Location) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if all(re.fullmatch(r"[\w-]{22}", id) and isinstance(at, float) for id, at in found.items()):
            return dict(found)
    except (AttributeError, TypeError, ValueError):
        pass
    raise WbragError(f"expected the ids of sessions in {path}, found something else: remove it")

"""What was found of one thing that a run may need: a row of `wbrag doctor`, whose fields are its JSON keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: State
    needed: bool  # under the present settings
    found: str  # one line
    remedy: str = ""  # what to do about it; may also follow something that is ok

    @property
    def missing(self) -> bool:
        """Whether a run under the present settings would fail for it."""
        return self.needed and self.state != "ok"

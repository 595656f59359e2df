"""Exception hierarchy: a `WbragError` ends a command with exit code 1, a `UsageError` with 2.

A message is one sentence: expected X, found Y: do Z.
"""

import re
from difflib import get_close_matches


class WbragError(Exception):
    """The job cannot go on: one sentence that says what was expected, what was found, what to do (exit 1)."""


class DamagedTable(WbragError):
    """A table of the workspace that a power loss, or somebody, has damaged; `wbrag repair` mends what can be mended."""


class StoreError(WbragError, OSError):
    """An object store that could not be read or written, after every retry; says nothing about what lies in it."""


class UsageError(WbragError):
    """The request itself is wrong: an unknown name, option or config key (exit 2)."""


class CannotFilter(UsageError):
    """A search that is to be narrowed by metadata, where the base knows none."""


class NoAnswer(WbragError):
    """The model gives no answer, and not because of the prompt: it is down, overloaded, or refuses the caller."""


class EngineDied(NoAnswer):
    """The engine is gone: every call that was in flight went with it, and only a new one answers again."""


class PromptRefused(WbragError):
    """A prompt that the model's endpoint turns down; another may pass."""


class PromptTooLong(PromptRefused):
    """A prompt that the model has no room for."""


def unknown(kind: str, name: str, known: list[str]) -> UsageError:
    """A `UsageError` that names the right choices and, where one is near, the likely one."""
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}: {hint}expected one of {', '.join(sorted(known))}")


def said(error: BaseException) -> str:
    """What a library said of an error, on one line: some write for a terminal, in colours and over many lines."""
    return " ".join(re.sub(r"\x1b\[\d*m|↳", " ", str(error)).split())[:300]

"""Ray error translation: a remote failure as one `WbragError` sentence.

wbrag's own sentence comes through as it was raised; of Ray's tracebacks, handed over as text, the root cause is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from wbrag.core.errors import WbragError

RAISED = re.compile(
    r"^[ \t]*((?:\w+\.)*\w*(?:Error|Exception|Interrupt)|wbrag\.core\.errors\.\w+): (.+)$", re.MULTILINE
)
MEMORY = re.compile(r"was ([\d.]+GB) used / ([\d.]+GB) limit")
KILLED = re.compile(r"Selected to kill: \((?:Task|Actor):[^(]*?(?:task|actor) name=([^,)]+)")
# The settings that memory goes by.
LESS = "generator.engines, encoder.actors, generator.concurrency or index.block_rows"


class EnginesGone(WbragError):
    """No engine starts any more: no row can be worked on."""


class NotUp(WbragError):
    """This engine does not start: another may work on the rows."""


def cause(error: RayTaskError) -> BaseException:
    """What the remote side raised, without the traceback that Ray wraps around it."""
    return error.cause if isinstance(error.cause, BaseException) else error


@contextmanager
def translated(step: str) -> Iterator[None]:
    """A Ray failure inside the block leaves it as a `WbragError` that names `step` and the root cause."""
    try:
        yield
    except RayError as error:  # before WbragError: Ray's wrapper of one is both
        raise in_one_sentence(step, error) from None


def short_of_memory(error: BaseException) -> str:
    """What was killed and why, where Ray killed it because its node ran out of memory; else ""."""
    text = str(error)
    if not isinstance(error, OutOfMemoryError) and "ray.exceptions.OutOfMemoryError" not in text:  # torch has one too
        return ""
    used, killed = MEMORY.search(text), KILLED.search(text)
    what = f"Ray has killed {killed[1].strip()}" if killed else "Ray has killed a process"
    return f"{what}, since its node had {used[1]} of {used[2]} in use" if used else f"{what} of a node short of memory"


def in_one_sentence(step: str, error: BaseException) -> WbragError:
    """wbrag's own sentence where the remote side raised one, else the first error of the remote traceback."""
    if killed := short_of_memory(error):
        return WbragError(
            f"expected memory enough for {step}, found that {killed}: lower {LESS}; what was finished is kept, run it "
            "again"
        )
    said = cause(error) if isinstance(error, RayTaskError) else error
    if isinstance(said, WbragError) and not isinstance(said, RayError):
        sentence, advice, _ = str(said).partition("\n")  # Ray Data's, on its own retries
        return type(said)(sentence) if advice else said
    raised = [(name, said) for name, said in RAISED.findall(str(error)) if not name.startswith("ray.")]
    ours = [said for name, said in raised if name.startswith("wbrag.core.errors.")]
    if ours:
        return WbragError(ours[-1])
    found = ": ".join(raised[0]) if raised else " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return WbragError(f"expected {step} to finish, found {found}; what was finished is kept, run it again")

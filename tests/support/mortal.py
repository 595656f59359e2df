"""Processes that die by SIGKILL at a chosen write or moment: a server imports everything once, and forks one a job.

`python -m tests.support.mortal MODULE` reads a job a line from standard input (JSON: `step`, a function of MODULE, its
`arguments`, and how it is to die) and answers with a line. Nothing in wbrag knows of this: writes of Python are seen by
an audit hook, those of Arrow, FAISS and delta-rs by wrapping the call, and inside delta-rs, whose commit is three
system calls, the kernel kills (seccomp) at the one that was chosen.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

ROOT = Path(__file__).resolve().parents[2]
HUNG_S = 600.0
Side = Literal["before", "after", "rename", "link", "unlink"]
INSIDE: tuple[Side, ...] = ("rename", "link", "unlink")  # of a delta-rs commit: data file, log entry, staged log entry
SYSTEM_CALLS = {"rename": (82, 264, 316), "link": (86, 265), "unlink": (87, 263)}  # x86_64: x, xat, x2
AUDITED = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}


class Kill(NamedTuple):
    """How a job dies: just `side` its `n`-th write (from 0), or `after_s` seconds."""

    n: int = -1
    side: Side = "before"
    after_s: float = HUNG_S


class Write(NamedTuple):
    what: str
    rust: bool  # one of delta-rs: it can be killed inside

    @property
    def sides(self) -> tuple[Side, ...]:
        return ("before", *(INSIDE if self.rust else ()), "after")


@dataclass(frozen=True)
class Reply:
    """What became of a job; `writes` and `value` are empty where it died."""

    killed: bool
    value: Any
    writes: list[Write]


class Mortals:
    """`with Mortals(MODULE, servers) as mortals: mortals.run(STEP, kill, **arguments)`; threads may share it.

    `within` is a command that the servers are started by, such as unshare(1).
    """

    def __init__(self, module: str, servers: int = 2, within: Sequence[str] = ()) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._all = [
            subprocess.Popen(
                [*within, sys.executable, "-m", "tests.support.mortal", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=ROOT,
            )
            for _ in range(servers)
        ]
        self._free: queue.Queue[subprocess.Popen[str]] = queue.Queue()
        for server in self._all:
            self._free.put(server)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._all:
            assert server.stdin
            server.stdin.close()
            server.wait(180)

    def run(self, step: str, kill: Kill | None = None, **arguments: Any) -> Reply:
        """Do `step`, to its end or to its death; raises `AssertionError` with the traceback where it fails."""
        server = self._free.get()
        try:
            assert server.stdin and server.stdout
            server.stdin.write(json.dumps({"step": step, "arguments": arguments, "kill": kill or Kill()}) + "\n")
            server.stdin.flush()
            found = json.loads(server.stdout.readline())
        finally:
            self._free.put(server)
        assert not found["error"], f"{step} {arguments} {kill}: {found['error']}"
        return Reply(found["killed"], found["value"], [Write(*write) for write in found["writes"]])


# -- the server ---------------------------------------------------------------------------------------------------


def serve(steps: Any) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a step prints is no answer
    for line in sys.stdin:
        job = json.loads(line)
        out.write(json.dumps(_forked(steps, job["step"], job["arguments"], Kill(*job["kill"]))) + "\n")
        out.flush()


def _forked(steps: Any, step: str, arguments: dict[str, Any], kill: Kill) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _live(getattr(steps, step), arguments, kill, write)
    os.close(write)
    ended, _, _ = select.select([watched := os.pidfd_open(child), read], [], [], kill.after_s)
    if not ended:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    os.close(watched)
    _, status = os.waitpid(child, 0)
    blank = {"killed": os.WIFSIGNALED(status), "value": None, "writes": [], "error": ""}
    if kill.after_s == HUNG_S and not ended:
        return blank | {"error": f"it did not end within {HUNG_S:g} s"}
    if blank["killed"] and os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGSYS):
        return blank | {"error": f"it died of signal {os.WTERMSIG(status)}"}
    return blank if blank["killed"] else blank | json.loads(told)


def _live(step: Callable[..., Any], arguments: dict[str, Any], kill: Kill, pipe: int) -> None:
    """The job's own process; it never returns."""
    try:
        writes = watch(Path(arguments["folder"]), kill)
        told = {"value": step(**arguments), "writes": list(writes)}
    except BaseException:
        told = {"error": traceback.format_exc()}
    with os.fdopen(pipe, "w") as out:
        out.write(json.dumps(told))
    os._exit(0)


# -- death --------------------------------------------------------------------------------------------------------


def watch(folder: Path, kill: Kill) -> Sequence[Write]:
    """The writes of this process below `folder`, as they come; at the chosen one it dies."""
    root, seen = str(folder), list[Write]()

    def point(what: str, rust: bool = False) -> bool:
        """Whether this is the chosen write."""
        seen.append(Write(what, rust))
        chosen = len(seen) - 1 == kill.n
        if chosen and kill.side == "before":
            _die()
        return chosen

    def hook(event: str, found: tuple[Any, ...]) -> None:
        written = (event in AUDITED or event == "open") and _writes(event, found, root)
        if written and point(f"{event} {_relative(found[0], root)}"):
            sys.setprofile(_die)  # the first thing after the call, in the thread that made it

    def wrap(owner: Any, name: str, rust: bool) -> None:
        plain = getattr(owner, name)

        def call(*positional: Any, **named: Any) -> Any:
            chosen = point(name, rust)
            if chosen and kill.side in INSIDE:
                _forbid(SYSTEM_CALLS[kill.side])
            result = plain(*positional, **named)
            if chosen:
                _die()
            return result

        setattr(owner, name, call)

    import deltalake.table
    import faiss
    import pyarrow
    import pyarrow.parquet

    wrap(pyarrow, "OSFile", rust=False)
    wrap(pyarrow.parquet, "write_table", rust=False)
    wrap(faiss, "write_index", rust=False)
    wrap(deltalake.table.TableMerger, "execute", rust=True)
    wrap(deltalake.table.TableOptimizer, "compact", rust=True)
    for module in [m for name, m in sys.modules.items() if name.startswith("wbrag.") and hasattr(m, "write_deltalake")]:
        wrap(module, "write_deltalake", rust=True)
    sys.addaudithook(hook)
    return seen


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _writes(event: str, found: tuple[Any, ...], root: str) -> bool:
    path = found[0]
    if not isinstance(path, str | os.PathLike):
        return False
    name = os.fspath(path)
    if isinstance(name, bytes) or not (name.startswith(root) or not os.path.isabs(name)):
        return False
    if event == "open":
        flags = found[2] or 0
        made = flags & os.O_CREAT and not (name.endswith(".lock") and os.path.exists(name))
        return name.startswith(root) and bool(made or flags & os.O_TRUNC)
    return not (event == "os.mkdir" and os.path.isdir(name))


def _relative(path: Any, root: str) -> str:
    return os.fspath(path).removeprefix(root).lstrip("/")


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]


def _forbid(calls: Sequence[int]) -> None:
    """From now on the kernel kills this process when one of its threads makes one of these system calls.

    A BPF program of 8-byte instructions (code, jump if true, if false, constant); see seccomp(2).
    """
    load, equal, done = (0x20, 0, 0, 0), 0x15, 0x06
    tests = [(equal, len(calls) - i, 0, call) for i, call in enumerate(calls)]
    program = [load, *tests, (done, 0, 0, 0x7FFF0000), (done, 0, 0, 0x80000000)]  # allow, kill the process
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    filter = _Filter(len(program), ctypes.addressof(buffer))
    assert libc.syscall(317, 1, 1, ctypes.byref(filter)) == 0, ctypes.get_errno()  # seccomp, for every thread


if __name__ == "__main__":
    serve(import_module(sys.argv[1]))

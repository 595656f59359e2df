"""Helpers that the command modules share.

They import nothing heavy: every module of commands is imported to print `wbrag --help`.
"""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wbrag.core.errors import UsageError

if TYPE_CHECKING:
    from wbrag.workspace import Workspace

Work = Callable[[argparse.Namespace, Any], Any]  # with the workspace, or with the settings alone
Verb = Callable[..., argparse.ArgumentParser]  # name, work, help, example, and the subparsers that it is one of


def plain(record: Any) -> dict[str, Any]:
    """A dataclass as a dictionary."""
    from dataclasses import asdict  # loads inspect, a tenth of the time of `wbrag --help`

    return asdict(record)


def current_user() -> str:
    """The user of this machine, for decisions that nobody signed."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def filter_of(text: str | None) -> Any:
    """What `--filter` says; its values are checked where it is used."""
    import json

    try:
        return json.loads(text) if text else None
    except ValueError:
        raise UsageError(f'expected --filter as JSON, such as {{"lang": "de"}}, found {text!r}: correct it') from None


def work_of(a: argparse.Namespace, w: Workspace) -> tuple[str, dict[str, Any]]:
    """The examples and the options, from the command line or else from the settings' `job` section."""
    job = w.config.job
    examples = a.examples or job.examples
    if examples is None:
        raise UsageError("expected --examples NAME/SPLIT or the setting job.examples, found neither: name the examples")
    return examples, {"method": a.method or job.method, "limit": job.limit if a.limit is None else a.limit}

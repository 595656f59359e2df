"""Helpers that the command modules share.

They import nothing heavy: every module of commands is imported to print `wbrag --help`.
"""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from typing import Any

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

"""What every verb's module is written with."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Work = Callable[[argparse.Namespace, Any], Any]  # with the workspace, or with the settings alone
Verb = Callable[..., argparse.ArgumentParser]  # name, work, help, example, and the subparsers that it is one of


def plain(record: Any) -> dict[str, Any]:
    """A dataclass as a dictionary."""
    from dataclasses import asdict

    return asdict(record)


def whoever() -> str:
    """The user of this machine, for decisions that nobody signed."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"

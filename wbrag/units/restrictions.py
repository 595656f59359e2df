"""Restrictions: whether some passage of a workspace is for certain groups, or once was."""

from __future__ import annotations

import json
from contextlib import suppress

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, write_atomically
from wbrag.core.io.parquet import corpus_files, has_columns
from wbrag.units.releases import now

RESTRICTED = "restricted.json"  # lies in the workspace from the first such corpus on that was replaced


def is_restricted(workspace: Location) -> bool:
    """Whether some passage of the corpus is for certain groups."""
    return any(has_columns(file, "groups") for file in corpus_files(workspace / "corpus"))


def was_restricted(workspace: Location) -> bool:
    """Whether a corpus of before had such passages: units and releases are made of them, which it does not tell."""
    return (workspace / RESTRICTED).is_file()


def remember(workspace: Location) -> None:
    """Before the corpus is replaced; what left half of one or a damaged one came after this once before."""
    with suppress(WbragError):
        if is_restricted(workspace) and not was_restricted(workspace):
            write_atomically(workspace / RESTRICTED, json.dumps({"since": now()}) + "\n")

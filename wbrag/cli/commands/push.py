"""Integration commands: `push`, `export`.

Both hand units to other systems, and change none in the workspace.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb
from wbrag.cli.commands.units import STATES
from wbrag.core.io.files import location

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    pushed = "make the outside store's collection hold exactly the units of a release"
    push = verb("push", lambda a, w: w.push(a.release), pushed, "wbrag push --config store.yaml")
    push.add_argument("--release", default="latest", help="latest (default), none (take all units back), or an id")
    export = verbs.add_parser("export", help="units for other programs").add_subparsers(metavar="WHAT", required=True)
    units = verb(
        "units", _export, "units in one file", "wbrag export units --format flashrag --out units.jsonl", export
    )
    units.add_argument("--format", choices=("jsonl", "parquet", "flashrag"), default="jsonl")
    units.add_argument("--out", metavar="FILE", required=True)
    which = units.add_mutually_exclusive_group()
    which.add_argument("--release", default="latest", help="the units of a release (default: latest)")
    which.add_argument("--state", choices=STATES, help="the units in a state instead")


def _export(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.export import export_units

    return export_units(w.layout, location(a.out), a.format, release=a.release, state=a.state)

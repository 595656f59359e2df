"""Verbs of the shelf: `units`, `releases`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.errors import WbragError
from wbrag.verbs.common import Verb, plain

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    units = verbs.add_parser("units", help="look at the shelf").add_subparsers(metavar="WHAT", required=True)
    listed = verb("list", _units_list, "every unit, a line each", "wbrag units list", units)
    listed.add_argument("--limit", type=int, metavar="N")
    shown = verb("show", _units_show, "one unit with its provenance", "wbrag units show wb-0123456789abcdef", units)
    shown.add_argument("id")
    releases = verbs.add_parser("releases", help="list, show, roll back").add_subparsers(metavar="WHAT", required=True)
    verb("list", _releases_list, "every release, oldest first", "wbrag releases list", releases)
    for name, work, help in (
        ("show", _releases_show, "one release"),
        ("rollback", _releases_rollback, "answer as an earlier release did"),
    ):
        verb(name, work, help, f"wbrag releases {name} r0001", releases).add_argument("id")


def _units_list(a: argparse.Namespace, w: Workspace) -> Any:
    return [
        {"id": s.unit.id, "title": s.unit.title, "text": s.unit.text, "questions": len(s.unit.question_ids)}
        for s in w.shelf.read()[: a.limit]
    ]


def _units_show(a: argparse.Namespace, w: Workspace) -> Any:
    for shelved in w.shelf.read():
        if shelved.unit.id == a.id:
            return {"id": a.id, **plain(shelved.unit)}
    raise WbragError(f"expected the id of a unit, found {a.id!r}: `wbrag units list` shows them")


def _releases_list(a: argparse.Namespace, w: Workspace) -> Any:
    return [plain(release) for release in w.releases.all()]


def _releases_show(a: argparse.Namespace, w: Workspace) -> Any:
    return plain(w.releases.get(a.id))


def _releases_rollback(a: argparse.Namespace, w: Workspace) -> Any:
    return plain(w.releases.rollback(a.id))

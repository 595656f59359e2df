"""Unit and release commands: `units`, `releases`.

A decision or rollback appends a signed row (`--by`); nothing is edited.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, current_user, plain

if TYPE_CHECKING:
    from wbrag.workspace import Workspace

log = logging.getLogger(__name__)
PIECE = 10_000  # units that are looked up together
STATES = ("candidate", "approved", "rejected", "retired", "stale")
DECISIONS = {
    "approve": ("approved", "publish them with the next release"),
    "reject": ("rejected", "keep candidates out of every release"),
    "retire": ("retired", "take approved units out of the next release"),
    "reconsider": ("candidate", "make rejected or retired units candidates again"),
}


def add(verb: Verb, verbs: Any) -> None:
    units = verbs.add_parser("units", help="look at units, decide on them").add_subparsers(
        metavar="WHAT", required=True
    )
    listed = verb("list", _units_list, "every unit, a line each", "wbrag units list --state candidate", units)
    listed.add_argument("--limit", type=int, metavar="N")
    listed.add_argument("--state", choices=STATES)
    listed.add_argument("--failed", action="store_true", help="only those that failed a check")
    shown = verb("show", _units_show, "all about one unit", "wbrag units show wb-0123456789abcdef", units)
    shown.add_argument("id")
    for name, (state, help) in DECISIONS.items():
        decide = verb(name, _decide, help, f"wbrag units {name} wb-0123456789abcdef --why 'read it'", units)
        decide.add_argument("ids", nargs="+", metavar="ID")
        decide.add_argument("--why", required=True)
        decide.set_defaults(state=state)
        _signed(decide)
    help = "put your own words in a unit's place: a new unit, checked like any other"
    edit = verb(
        "edit", _edit, help, "wbrag units edit wb-0123456789abcdef --text 'As it is.' --why 'wrong year'", units
    )
    edit.add_argument("id")
    edit.add_argument("--title", default="", help="default: the unit's own")
    edit.add_argument("--text", default="", help="default: the unit's own")
    edit.add_argument("--why", required=True)
    _signed(edit)
    _releases(verb, verbs)


def _releases(verb: Verb, verbs: Any) -> None:
    releases = verbs.add_parser("releases", help="list, show, compare, roll back").add_subparsers(
        metavar="WHAT", required=True
    )
    verb("list", _releases_list, "every release, oldest first", "wbrag releases list", releases)
    verb("show", _releases_show, "one release", "wbrag releases show r0001", releases).add_argument("id")
    compare = verb("compare", _compare, "units that two releases differ in", "wbrag releases compare none r1", releases)
    compare.add_argument("before")
    compare.add_argument("after")
    help = "answer as an earlier release did; units stay as they were decided on"
    back = verb("rollback", _rollback, help, "wbrag releases rollback r0001 --why 'wrong dates'", releases)
    back.add_argument("id")
    back.add_argument("--why", default="")
    _signed(back)


def _signed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", default=None, metavar="NAME", help="who decides (default: the user of this machine)")


def _units_list(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.governance import Governance

    governance = Governance(w.layout)
    ids = governance.select([a.state] if a.state else None, check="failed" if a.failed else "")[: a.limit]
    cards = (card for start in range(0, len(ids), PIECE) for card in governance.cards(ids[start : start + PIECE]))
    return [
        {
            "id": card.unit.id,
            "state": card.state,
            "checks": "not run" if not card.examined else ", ".join(c.name for c in card.examined.failed) or "passed",
            "title": card.unit.title,
            **({"text": card.unit.text} if a.json else {}),  # too wide for a table
            "questions": len(card.unit.question_ids),
            "hits": card.use.hits,
        }
        for card in cards
    ]


def _units_show(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.governance import Governance

    page = Governance(w.layout).unit(a.id)
    examined = page.card.examined
    return {
        "id": a.id,
        "state": page.card.state,
        **plain(page.card.unit),
        "checks": {c.name: f"{'ok' if c.passed else 'FAILED'}: {c.explanation}" for c in examined.results}
        if examined
        else {},
        "history": [f"{d.at} {d.by}: {d.before} to {d.state}, {d.why}" for d in page.history],
        "releases": list(page.releases),
        "use": plain(page.card.use),
    }


def _decide(a: argparse.Namespace, w: Workspace) -> Any:
    return {"decided": w.decide(a.ids, a.state, by=a.by or current_user(), why=a.why), "state": a.state}


def _edit(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.correct import correct

    by = a.by or current_user()
    return _units_show(
        argparse.Namespace(id=correct(w.library, a.id, title=a.title, text=a.text, by=by, why=a.why).id), w
    )


def _releases_list(a: argparse.Namespace, w: Workspace) -> Any:
    return [plain(release) for release in w.releases.all()]


def _releases_show(a: argparse.Namespace, w: Workspace) -> Any:
    return plain(w.releases.get(a.id))


def _compare(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.governance import Governance

    found = Governance(w.layout).compare(a.before, a.after)
    lines = [(change, row) for change in ("added", "removed") for row in _texts(w, getattr(found, change))]
    return [{"change": change, **row} for change, row in lines]


def _texts(w: Workspace, ids: Sequence[str]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = w.shelf.table(["id", "title", "text"], ids).to_pylist()
    return rows


def _rollback(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.governance import Governance

    made = w.rollback(a.id, by=a.by or current_user(), why=a.why)
    back = Governance(w.layout).revived(made)
    for decision in back:
        log.warning("a unit that was closed answers again: %s", decision.told())
    return plain(made) | {"closed_units": [plain(decision) for decision in back]}

"""Governance commands: `check`, `refresh`, `review`, `learn`, `repair`, `tidy`, `audit`.

None of them approves a unit: that is a person's decision, or the policy of `publish`.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    checked = "run the checks on units that wait; `enrich` and `publish` do it too"
    check = verb("check", lambda a, w: w.check(a.ids or None), checked, "wbrag check --checks.grounding 0.8")
    check.add_argument("ids", nargs="*", metavar="ID", help="these units, checked or not")
    stale = "mark units whose sources changed as stale, and distil them again"
    verb("refresh", lambda a, w: w.refresh(), stale, "wbrag refresh --checks.ttl_days 90")
    verb("review", _review, "the work list: what wants a person's look", "wbrag review")
    learned = "candidates from served answers that users liked"
    verb("learn", lambda a, w: w.learn(), learned, "wbrag learn --learn.enabled true")
    mended = "mend tables that a power loss or a disk damaged, and write lost units again from their verdicts"
    verb("repair", _repair, mended, "wbrag repair")
    gone = "let go of files that no kept release needs, and put tables in few files"
    let = verb("tidy", _tidy, gone, "wbrag tidy --keep 3 --dry-run")
    let.add_argument("--keep", type=int, default=3, metavar="N", help="newest releases to keep (default 3)")
    let.add_argument("--dry-run", action="store_true", help="say what would go; nothing is removed")
    audit = verb("audit", _audit, "who changed what, when and why", "wbrag audit --out audit.jsonl")
    audit.add_argument("--out", metavar="FILE", help="JSON lines into this file (default: a table)")


def _review(a: argparse.Namespace, w: Workspace) -> Any:
    return [
        {"id": task.unit_id, "title": task.title, "reason": task.reason, "detail": task.detail} for task in w.review()
    ]


def _repair(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.repair import repair

    found = repair(w.library)
    if a.json:
        return found
    parts = list(found["tables"])
    if found["units_back"] or found["units_lost"]:
        back = [f"{found['units_back']} of them are written again, from the verdicts that made them"]
        lost = [f"unit {id}" for id in found["units_lost"]]
        parts.append({"table": "units", "found": ["units that are named, and not there"], "done": back, "lost": lost})
    if found["runs_unread"]:
        unread = [f"run {name}, whose rows or description are damaged" for name in found["runs_unread"]]
        parts.append({"table": "runs", "found": unread, "done": [], "lost": ["their units, where named above"]})
    if not parts:
        return "nothing to repair: every table is whole, every unit that is named is there\n"
    lines = []
    for part in parts:
        said = [f"  {kind:<6} {line}" for kind in ("found", "done", "lost") for line in part[kind]]
        lines += [part["table"], *said]
    lines.append("start endpoints that run over this workspace again: they remember tables by version")
    return "\n".join(lines) + "\n"


def _tidy(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.tidy import tidy

    found = tidy(w.layout, a.keep, dry_run=a.dry_run)
    done = "would go" if a.dry_run else "let go of"
    return [{done: one.what, "files": one.files, "MB": round(one.bytes / 1e6, 1)} for one in found]


def _audit(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.core.io.files import location, write_atomically
    from wbrag.units.audit import changes

    rows = [change._asdict() for change in changes(w.layout)]
    if a.out is None:
        return rows
    write_atomically(location(a.out), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {"changes": len(rows), "file": a.out}

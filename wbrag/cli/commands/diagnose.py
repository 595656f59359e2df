"""Diagnosis command: `diagnose`, the first thing to run on one's own data.

It writes a page and no unit.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, work_of
from wbrag.core.io.files import location

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    helped = "where the library fails: every question's cause, and the lever that fits"
    sub = verb("diagnose", _diagnose, helped, "wbrag diagnose --examples nq/train")
    sub.add_argument("--examples", metavar="NAME/SPLIT", help="default: the setting job.examples")
    sub.add_argument("--method", help="default: the setting job.method")
    sub.add_argument("--limit", type=int, metavar="N", help="only N of them, always the same (default 200)")
    sub.add_argument("--out", metavar="FILE", help="the page (default: reports/diagnosis-NAME-SPLIT.html)")


def _diagnose(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.evaluation.diagnosis.diagnose import LIMIT, tables
    from wbrag.evaluation.report.diagnosis_page import write_diagnosis

    examples, options = work_of(a, w)
    found = w.diagnose(
        examples, method=options["method"], limit=LIMIT if options["limit"] is None else options["limit"]
    )
    page = location(a.out) if a.out else w.path / "reports" / f"diagnosis-{examples.replace('/', '-')}.html"
    write_diagnosis(found, page)
    return found.to_json() | {"page": str(page)} if a.json else tables(found, str(page))

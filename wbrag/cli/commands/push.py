"""Integration commands: `push`, `export`.

Both hand what there is to other systems, and change nothing in the workspace.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, work_of
from wbrag.cli.commands.units import STATES
from wbrag.core.io.files import location

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    pushed = "make the outside store's collection hold exactly the units of a release"
    push = verb("push", lambda a, w: w.push(a.release), pushed, "wbrag push --config store.yaml")
    push.add_argument("--release", default="latest", help="latest (default), none (take all units back), or an id")
    export = verbs.add_parser("export", help="units, answers for other programs").add_subparsers(
        metavar="WHAT", required=True
    )
    units = verb("units", _units, "units in one file", "wbrag export units --format flashrag --out units.jsonl", export)
    units.add_argument("--format", choices=("jsonl", "parquet", "flashrag"), default="jsonl")
    where = units.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="FILE")
    where.add_argument("--to", metavar="hf://OWNER/NAME", help="a dataset on the Hugging Face hub; @BRANCH after it")
    which = units.add_mutually_exclusive_group()
    which.add_argument("--release", default="latest", help="the units of a release (default: latest)")
    which.add_argument("--state", choices=STATES, help="the units in a state instead")
    help = "what a question set was answered, with its documents; as a run with qrels, for ragas, or whole"
    example = "wbrag export answers --examples demo/test --format trec --out naive.run"
    answers = verb("answers", _answers, help, example, export)
    answers.add_argument("--examples", metavar="NAME/SPLIT", help="default: the setting job.examples")
    answers.add_argument("--method", help="default: the setting job.method")
    answers.add_argument("--limit", type=int, metavar="N", help="only N of them, always the same")
    answers.add_argument("--release", default="latest", help="latest (default), none, closed-book, or an id")
    answers.add_argument("--format", choices=("jsonl", "ragas", "trec"), default="jsonl")
    answers.add_argument("--out", metavar="FILE", required=True, help="trec: the run; its qrels beside it, as .qrels")


def _units(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.units.export import export_units

    if a.out:
        return export_units(w.layout, location(a.out), a.format, release=a.release, state=a.state)
    from tempfile import TemporaryDirectory

    from wbrag.units.hub import checked_address, upload

    checked_address(a.to)
    with TemporaryDirectory() as folder:
        file = Path(folder) / ("units.parquet" if a.format == "parquet" else "units.jsonl")
        found = export_units(w.layout, file, a.format, release=a.release, state=a.state)
        message = f"wbrag {found['of']}: {found['units']:,} units"
        return {**found, "file": upload(file, a.to, message)}


def _answers(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.evaluation.export import export_answers

    examples, options = work_of(a, w)
    return export_answers(w.runner, examples, location(a.out), a.format, release=a.release, **options)

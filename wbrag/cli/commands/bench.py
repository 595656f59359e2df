"""Benchmark commands: `bench`, `report`.

`report` draws a page from stored figures or rows; it runs no model.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, plain

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    grid = "a suite's whole grid: methods x sets x models x libraries"
    bench = verb("bench", _bench, grid, "wbrag bench --suite suites/demo.yaml --markdown")
    bench.add_argument("--suite", metavar="FILE", required=True)
    bench.add_argument("--data", metavar="DIR", help="where the suite's relative paths begin")
    part: dict[str, Any] = {"metavar": "NAME", "nargs": "+", "default": ()}
    bench.add_argument("--sets", help="only these of the suite's; cells of earlier runs stay", **part)
    bench.add_argument("--models", help="only these of the suite's, likewise", **part)
    bench.add_argument("--dry-run", action="store_true", help="read suite and data, and say what would be worked on")
    bench.add_argument("--markdown", action="store_true", help="GitHub tables on stdout")
    bench.add_argument("--csv", action="store_true", help="every score and comparison on stdout, one a line")
    report = verb("report", _report, "one page about a suite or an enrichment run", "wbrag report --suite demo")
    about = report.add_mutually_exclusive_group(required=True)
    about.add_argument("--suite", metavar="NAME", help="the name in the suite's file; its page is drawn again")
    about.add_argument("--run", metavar="FINGERPRINT", help="as `wbrag enrich` names it")


def _bench(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.evaluation.bench.tables import as_csv, markdown, tables

    if a.dry_run:
        from wbrag.evaluation.bench.run import dry_run

        return dry_run(w.runner, a.suite, a.data, sets=a.sets, models=a.models)
    bench = w.bench(a.suite, a.data, sets=a.sets, models=a.models)
    if a.json:
        return plain(bench)
    return as_csv(bench) if a.csv else markdown(bench) if a.markdown else tables(bench)


def _report(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.evaluation.bench.page import of_run, read_bench, write_report

    folder = w.path / "reports" / ("suites" if a.suite else "runs")
    bench = read_bench(folder / f"{a.suite}.json") if a.suite else of_run(w.path / "verdicts" / a.run)
    return {"page": str(write_report(bench, folder))}

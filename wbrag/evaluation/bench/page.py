"""Benchmark report: a suite's figures as JSON, and one self-contained HTML page drawn from them.

The JSON holds all that the page needs, so that it can be drawn again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, write_atomically
from wbrag.enrich.row_files import read_rows
from wbrag.evaluation.bench.figures import Bench
from wbrag.evaluation.bench.grid import SHOWN, construction
from wbrag.evaluation.bench.tables import clear, tables
from wbrag.evaluation.report import plots
from wbrag.evaluation.report.page import environment


def write_report(bench: Bench, folder: Location) -> Location:
    """`<name>.json` and `<name>.html` in `folder`; returns the page's path."""
    write_figures(bench, folder)
    page = folder / f"{bench.name}.html"
    write_atomically(page, render(bench))
    return page


def write_figures(bench: Bench, folder: Location) -> None:
    """`<name>.json`, from which the page can be drawn at any time."""
    write_atomically(folder / f"{bench.name}.json", json.dumps(asdict(bench), indent=1) + "\n")


def read_bench(path: Location) -> Bench:
    if not path.is_file():
        raise WbragError(f"expected a suite's figures at {path}, found nothing: run `wbrag bench --suite FILE` first")
    try:
        return Bench(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError):
        raise WbragError(f"expected figures of this version's bench in {path}, found others: run it again") from None


def of_run(folder: Location) -> Bench:
    """One enrichment run, `verdicts/<fingerprint>`, with nothing to compare."""
    about = folder / "run.json"
    if not about.is_file():
        raise WbragError(f"expected the verdicts of a run in {folder}, found none: `wbrag enrich` names them")
    made = json.loads(about.read_text(encoding="utf-8"))
    rows = list(read_rows(folder, "enrich").values())
    if not rows:
        raise WbragError(f"expected finished rows in {folder}, found none: run the same `wbrag enrich` again")
    settings = made["config"]
    name = {"model": settings["generator"]["model"], "method": made["method"], "set": made["examples"]}
    built = construction(rows, settings["enrich"]["top_k"])
    return Bench(f"run-{folder.name}", [], [], [name | built], [], [], made)


def render(bench: Bench) -> str:
    """The page's HTML."""
    over_base = [r for r in bench.comparisons if r["over"] == "base"]
    studies = {r["study"]: [p for p in bench.points if p["study"] == r["study"]] for r in bench.points}
    page = environment().get_template("bench.html.j2")
    return page.render(
        bench=bench,
        title=headline(bench),
        tables=tables(bench),
        made=provenance(bench),
        shown=SHOWN,
        funnel=[_funnel(r) for r in bench.construction],
        gains=Markup(plots.gains([r | {"clear": clear(r)} for r in over_base])) if over_base else "",
        studies={name: Markup(plots.curves(points, name)) for name, points in studies.items()},
        ranks=Markup(plots.ranks(bench.construction)),
        compression=Markup(plots.compression(bench.construction)),
    ).lstrip()


def provenance(bench: Bench) -> list[tuple[str, str]]:
    """What it takes to repeat the figures, as names and values."""
    return [(name, _plain(value)) for name, value in bench.made.items() if value not in ({}, None)]


def _plain(value: Any) -> str:
    """Nested settings as text: `encoder.dtype bfloat16, seed 0`."""

    def pairs(prefix: str, part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            for name, inner in part.items():
                yield from pairs(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield f"{prefix} {', '.join(map(str, part)) if isinstance(part, list) else part}".strip()

    return "; ".join(pairs("", value))


def headline(bench: Bench) -> str:
    """In how many cells write-back clearly gains, loses, and beats every control; counted, never rounded up."""
    if not bench.comparisons:
        accepted, examples, units = (sum(r[n] for r in bench.construction) for n in ("accepted", "examples", "units"))
        return f"{accepted} of {examples} questions were accepted and became {units} units"
    over_base = [r for r in bench.comparisons if r["over"] == "base"]
    beyond = [r for r in over_base if clear(r)]
    gained = [r for r in beyond if r["gain"] > 0]
    of_method = [r for r in gained if all(c["gain"] > 0 and clear(c) for c in _controls(bench, r))]
    text = f"Write-back clearly gains in {len(gained)} of {len(over_base)} settings"
    if len(beyond) > len(gained):
        text += f" and loses in {len(beyond) - len(gained)}"
    if names := dict.fromkeys(r["over"].removeprefix("control_") for r in bench.comparisons if "control_" in r["over"]):
        text += f"; {len(of_method)} of them also beat every control ({', '.join(names).replace('_', ' ')})"
    return text


def _controls(bench: Bench, row: dict[str, Any]) -> list[dict[str, Any]]:
    key = ("model", "method", "set")
    return [
        c for c in bench.comparisons if c["over"].startswith("control_") and all(c[name] == row[name] for name in key)
    ]


def _funnel(r: dict[str, Any]) -> dict[str, Any]:
    """From labelled questions to units, for one cell."""
    return {
        **{name: r[name] for name in ("model", "method", "set", "examples", "quarantined", "accepted", "units")},
        "closed": r["closed_book_suffices"],
        "no_help": r["retrieval_did_not_help"],
        "leaking": len(r["leaking"]),
        "retained": r["retained_docs_mean"],
    }

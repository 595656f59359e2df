"""Write the measured tables into the READMEs: `python scripts/readme_tables.py REPORT.json ...`.

A report is the demo's (`workspace/reports/demo.json`), a suite's (`workspace/reports/suites/NAME.json`) or one that
brings its own text (`workspace/reports/security.json`, by `benchmarks/security.py`). Short tables
go into README.md where it has markers for them, a suite's whole ones into `suites/RESULTS.md`, the embedded model's
(`wbrag/demo/model/quality.json`) into `wbrag/demo/README.md`, and what `benchmarks/results/` holds into the README.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from measured import Figure, number

from wbrag.evaluation.bench.grid import Bench
from wbrag.evaluation.bench.page import headline, provenance
from wbrag.evaluation.bench.tables import ARMS, clear, markdown


def table(demo: dict[str, object]) -> str:
    """The Markdown between the markers."""
    story = demo["story"]
    assert isinstance(story, dict)
    rows = ["| library | all | reworded | new facts |", "|---|---|---|---|"]
    for arm in story["arms"]:
        cells = [_score(part) for part in (arm, arm["reworded"], arm["new_facts"])]
        rows.append(f"| {arm['label']}: {arm['description']} | {' | '.join(cells)} |")
    rows += ["", "| gain in points | | 95% interval | p | won, lost |", "|---|---|---|---|---|"]
    for gain in story["gains"]:
        low, high = gain["ci95"]
        rows.append(
            f"| {gain['label']} | {100 * gain['gain']:+.1f} | {100 * low:+.1f} to {100 * high:+.1f} "
            f"| {gain['p']:.2g} | {gain['wins']}, {gain['losses']} |"
        )
    made = story["provenance"]
    note = (
        f"Accuracy in % with 95% bootstrap intervals; p is McNemar's. {story['arms'][0]['n']} questions, "
        f"{made['hardware']}, {demo['seconds']:.0f} s."
    )
    return "\n".join([*rows, "", note])


def _score(part: dict[str, object]) -> str:
    low, high = part["ci95"]  # type: ignore[misc]
    return f"{100 * float(part['score']):.1f} ({100 * low:.1f} to {100 * high:.1f})"  # type: ignore[arg-type,has-type]


def quality(found: dict[str, float]) -> str:
    """What the embedded model does right, by stage."""
    stages = {name: share for name, share in found.items() if name not in ("n", "seed")}
    rows = ["| stage | right |", "|---|---|", *(f"| {name} | {100 * share:.0f}% |" for name, share in stages.items())]
    return "\n".join([*rows, "", f"At most {found['n']} samples a line, measured under vLLM by `quality.py`."])


def suite(bench: Bench) -> str:
    """A row for each method and set: the three scores, and write-back's gain over the base and over each control."""
    over = [name for name in dict.fromkeys(r["over"] for r in bench.comparisons) if name != "closed_book"]
    heads = ["no retrieval", "base", "write-back", *(f"over {ARMS[name]}" for name in over)]
    rows = [f"| set | method | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 2)]
    for base in (r for r in bench.scores if r["arm"] == "base"):
        cell = {name: base[name] for name in ("model", "method", "set")}
        scores = {r["arm"]: f"{100 * r['score']:.1f}" for r in bench.scores if cell.items() <= r.items()}
        gains = {r["over"]: _gain(r) for r in bench.comparisons if cell.items() <= r.items()}
        cells = [*(scores[arm] for arm in ("closed_book", "base", "writeback")), *(gains[name] for name in over)]
        rows.append(f"| {base['set']} | {base['method']} | {' | '.join(cells)} |")
    n = " to ".join(str(count) for count in sorted({r["n"] for r in bench.scores}))
    note = f"Score in %, gain of write-back in points with 95% bootstrap interval; {n} held-out questions a row; "
    return "\n".join([f"{headline(bench)}.", "", *rows, "", note + "**bold**: p < 0.05 (McNemar, Holm over the grid)."])


def _gain(r: dict[str, Any]) -> str:
    low, high = r["gain_ci95"]
    text = f"{100 * r['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"**{text}**" if clear(r) else text


def performance(results: list[dict[str, Any]]) -> str:
    """The figures of the benchmarks that have a short name, in one table."""
    rows = ["| | measured | target | command |", "|---|---|---|---|"]
    for result in results:
        for figure in (Figure(**f) for f in result["figures"]):
            if figure.short:
                met = {True: figure.wanted, False: f"{figure.wanted}: **missed**", None: ""}[figure.met]
                measured = f"{number(figure.value)} {figure.unit}".rstrip()
                rows.append(f"| {figure.short} | {measured} | {met} | `{result['command']}` |")
    made = sorted({result["hardware"] for result in results})
    return "\n".join([*rows, "", f"On {'; '.join(made)}. Ratios are of runs side by side."])


def write_between(file: Path, name: str, text: str) -> None:
    """Replace what stands between the markers `<!-- NAME:start -->` and `<!-- NAME:end -->`."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, found, rest = file.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        sys.exit(f"expected {start} and {end} in {file}, found none: add them where the table belongs")
    file.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    for report in map(Path, sys.argv[1:]):
        found = json.loads(report.read_text(encoding="utf-8"))
        if "story" in found:
            write_between(root / "README.md", "demo-run", table(found))
        elif "markdown" in found:
            write_between(root / "README.md", found["name"], found["markdown"])
        else:
            bench = Bench(**found)
            made = [f"{name}: {value}" for name, value in provenance(bench) if name != "suite"]
            whole = f"{headline(bench)}.\n\n{markdown(bench)}\nHow it was made: {'; '.join(made)}."
            write_between(root / "suites" / "RESULTS.md", bench.name, whole)
            if f"<!-- {bench.name}:start -->" in (root / "README.md").read_text(encoding="utf-8"):
                write_between(root / "README.md", bench.name, suite(bench))
    measured = [
        json.loads(f.read_text(encoding="utf-8")) for f in sorted((root / "benchmarks" / "results").glob("*.json"))
    ]
    if measured:
        write_between(root / "README.md", "performance", performance(measured))
    found = json.loads((root / "wbrag" / "demo" / "model" / "quality.json").read_text(encoding="utf-8"))
    write_between(root / "wbrag" / "demo" / "README.md", "quality", quality(found))


if __name__ == "__main__":
    main()

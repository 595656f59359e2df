"""The results page: `python scripts/results.py [REPORT.json ...]` writes `docs/results.md` and its pictures.

A REPORT is a suite's (`reports/suites/NAME.json`). Its cells join those stored in `benchmarks/results/suites/`, as
figures in NAME.json and as every question's scores in NAME.parquet; texts of questions, passages and answers stay in
the workspace. Everything on the page is made from what is stored there, which a test compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wbrag.evaluation.bench.figures import Bench, joined
from wbrag.evaluation.bench.headlines import headlines
from wbrag.evaluation.bench.page import provenance
from wbrag.evaluation.bench.tables import ARMS, clear, markdown, points_of
from wbrag.evaluation.report import plots

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES = ROOT / "docs" / "results.md", ROOT / "docs" / "img" / "results"
STORE = ROOT / "benchmarks" / "results" / "suites"
SHOWN = ("real", "naive", "smollm2-reader")  # suite, method and model that the README speaks of
TRIED = ("tuning",)  # suites that settings are chosen by, which claim nothing
MADE = ("created", "hardware", "versions", "prompts", "seed", "generators", "encoder", "corpus", "cells", "suite")
PAPER = ROOT / "docs" / "measured" / "paper.json"
Json = dict[str, Any]
FONTS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
# The reports' own colours, set by a picture itself: the reader's scheme chooses.
COLOURS = (ROOT / "wbrag" / "evaluation" / "report" / "colours.css.j2").read_text(encoding="utf-8")
STYLE = f"svg {{ font-family: {FONTS}; }} {COLOURS.replace(':root', 'svg')}"


# -- what is stored ---------------------------------------------------------------------------------------------------


def store(report: Json) -> None:
    """Join a report's cells with those that are stored, without texts, addresses and folders."""
    new = Bench(**report)
    if f"<!-- {new.name}:start -->" not in PAGE.read_text(encoding="utf-8"):
        sys.exit(
            f"expected <!-- {new.name}:start --> and its end in {PAGE}, found none: add them where the suite belongs"
        )
    before = load(new.name) if (STORE / f"{new.name}.json").is_file() else None
    both = joined(before, new)
    whole = replace(both, changed=[], made={name: both.made[name] for name in MADE})
    rows = [
        {name: row[name] for name in ("model", "method", "set", "id", "stratum")} | {"arm": arm, "score": score}
        for row in whole.questions
        for arm, score in row["scores"].items()
    ]
    STORE.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), STORE / f"{new.name}.parquet")
    text = json.dumps(asdict(replace(whole, questions=[])), indent=1) + "\n"
    (STORE / f"{new.name}.json").write_text(text, encoding="utf-8")


def load(name: str) -> Bench:
    """A suite's stored figures; a score that is null is of an answer that failed."""
    found = json.loads((STORE / f"{name}.json").read_text(encoding="utf-8"))
    questions: dict[tuple[str, ...], Json] = {}
    for row in pq.read_table(STORE / f"{name}.parquet").to_pylist():
        arm, score = row.pop("arm"), row.pop("score")
        questions.setdefault(tuple(row.values()), row | {"scores": {}})["scores"][arm] = score
    return Bench(**found | {"questions": list(questions.values())})


def stored() -> list[Bench]:
    """Every suite that has figures, by name."""
    return [load(file.stem) for file in sorted(STORE.glob("*.json"))]


# -- the page ---------------------------------------------------------------------------------------------------------


def blocks(benches: list[Bench]) -> dict[str, str]:
    """What stands between each pair of markers of the page."""
    lines = [f"- {line}" for bench in benches if bench.name not in TRIED for line in headlines(bench)]
    found = {"headlines": "\n".join(lines) or "Nothing yet: no suite of this page has been run."}
    for bench in benches:
        told = [(name, value) for name, value in provenance(bench) if name not in ("suite", "cells")]  # in the file
        made = "; ".join(f"{name}: {value}" for name, value in told)
        images = "\n".join(_image(name, title) for name, title, _ in plotted(bench))
        every = f"[{bench.name}.json](../benchmarks/results/suites/{bench.name}.json)"
        pictured = f"{images}\n\n" if images else ""
        table = tried(bench) if bench.name in TRIED else markdown(bench)
        found[bench.name] = f"{pictured}{table}\nHow it was made: {made}. Every setting: {every}."
    return found | {"beside": beside_the_paper([bench for bench in benches if bench.name not in TRIED])}


def tried(bench: Bench) -> str:
    """A row for each setting and set: how many units it made, and what they gain over base and controls."""
    over = list(dict.fromkeys(r["over"] for r in bench.comparisons if r["over"] != "closed_book"))
    names = " | ".join("over " + ARMS[arm].removeprefix("control: ") for arm in over)
    rows = [f"| set | setting | units | base | write-back | {names} |", f"|---|---|---|---|---|{'---|' * len(over)}"]
    for made in bench.construction:
        cell = {name: made[name] for name in ("model", "method", "set")}
        own = [r for r in bench.scores if all(r[name] == value for name, value in cell.items())]
        score = {r["arm"]: f"{100 * r['score']:.1f}" for r in own}
        gains = {
            r["over"]: points_of(r["gain"], r["gain_ci95"]) + ("\\*" if clear(r) else "")
            for r in bench.comparisons
            if all(r[name] == value for name, value in cell.items())
        }
        cells = [made["set"], made["model"], f"{made['units']}", score["base"], score["writeback"]]
        rows.append(f"| {' | '.join([*cells, *(gains.get(arm, '') for arm in over)])} |")
    return "\n".join([*rows, "", f"{len({made['model'] for made in bench.construction})} settings were tried.", ""])


def beside_the_paper(benches: list[Bench]) -> str:
    """Gains of naive RAG, and how units came to be, beside the paper's figures and what neighbours report."""
    paper = json.loads(PAPER.read_text(encoding="utf-8"))
    rows = ["| set | ours, naive RAG (suite, model) | the paper, Gemma-3-12B | Llama-3.1-8B |", "|---|---|---|---|"]
    for name, (gemma, llama) in paper["naive_gains"].items():
        ours = [
            f"{bench.name}, {r['model']} {100 * r['gain']:+.1f}"
            for bench in benches
            for r in bench.comparisons
            if (r["set"], r["over"], r["method"]) == (name, "base", "naive")
        ]
        rows.append(f"| {name} | {', '.join(ours) or 'not run'} | {gemma:+.2f} | {llama:+.2f} |")
    rows += ["", "| set | accepted | docs kept | compression | document fallback |", "|---|---|---|---|---|"]
    for bench in benches:
        for r in (r for r in bench.construction if r["set"] in paper["construction"] and r["method"] == "naive"):
            share = r["accepted"] / max(1, r["examples"])
            own = (
                f"{share:.1%}",
                f"{r['retained_docs_mean']:.2f}",
                f"{r['compression_mean']:.2f}x",
                f"{r['fallback_rate']:.1%}",
            )
            rows.append(f"| {r['set']}, {r['model']} | {' | '.join(own)} |")
            rows.append(f"| {r['set']}, the paper | {' | '.join(paper['construction'][r['set']])} |")
    rows += ["", "| kept documents by rank | 1 | 2 | 3 | 4 | 5 |", "|---|---|---|---|---|---|"]
    for bench in benches:
        for r in (r for r in bench.construction if r["set"] in paper["ranks"] and r["method"] == "naive"):
            counts = r["retained_ranks"]
            rows.append(_shares(f"{r['set']}, {r['model']}", [n / max(1, sum(counts)) for n in counts]))
            rows.append(_shares(f"{r['set']}, the paper", paper["ranks"][r["set"]]))
    rows += ["", "| neighbour | reports | how it differs |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| {' | '.join(row)} |" for row in paper["neighbours"])])


def _shares(name: str, shares: list[float]) -> str:
    return f"| {name} | {' | '.join(f'{share:.0%}' for share in shares)} |"


def on_real_sets(benches: list[Bench]) -> str:
    """The README's sentence about real questions: every set's gain with the reader that ships, and what it is worth."""
    rows = [
        r
        for bench in benches
        if bench.name == SHOWN[0]
        for r in bench.comparisons
        if (r["over"], r["method"], r["model"]) == ("base", *SHOWN[1:])
    ]
    if not rows:
        return "On real question sets it has not been measured yet."
    each = ", ".join(f"{r['set']} {points_of(r['gain'], r['gain_ci95'])}" for r in rows)
    sure = [r["set"] for r in rows if clear(r) and r["gain"] > 0]
    verdict = f"a gain beyond chance on {', '.join(sure)}" if sure else "**no gain beyond chance**"
    n = sum(r["n"] for r in rows)
    return (
        f"On {n} held-out questions of real sets, with the {SHOWN[2]} that ships (135M parameters): {verdict} "
        f"([all figures](docs/results.md)). In points: {each}."
    )


def replicated(benches: list[Bench]) -> str:
    """The README's sentence about the demo's gain on other draws of its questions, pooled."""
    found = {
        (r["pool"], r["stratum"]): r
        for bench in benches
        if bench.name == "replication"
        for r in bench.pooled
        if r["over"] == "base"
    }
    if not found:
        return "Other draws of its questions have not been measured yet."
    told = {key: points_of(r["gain"], r["ci95"]) for key, r in found.items()}
    return (
        f"On five other draws of its questions, pooled ([figures](docs/results.md)): {told['reworded', 'all']} points "
        f"on trained facts asked in other words, {told['new facts', 'all']} on facts that no training question asked, "
        f"and {told['new facts', 'neither']} where these stand in passages that training never touched, whose places "
        "units take."
    )


# -- pictures ---------------------------------------------------------------------------------------------------------


def plotted(bench: Bench) -> Iterator[tuple[str, str, str]]:
    """Name, title and SVG of every picture of a suite; the wide one and the narrow one of a forest plot."""
    if bench.name in TRIED:
        return  # what settings are chosen by is a table
    over_base = [r for r in bench.strata or bench.comparisons if r["over"] == "base"]
    for model, method in dict.fromkeys((r["model"], r["method"]) for r in over_base):
        own = [r | {"clear": clear(r)} for r in over_base if (r["model"], r["method"]) == (model, method)]
        labelled = [r | {"set": ", ".join(filter(None, (r["set"], r.get("stratum"))))} for r in own]
        title = f"Gain of write-back over the base, {model}, {method}"
        name = re.sub(r"[^\w.-]+", "-", f"{bench.name}-gains-{model}-{method}")
        yield name, title, str(plots.gains(labelled))
    yield f"{bench.name}-ranks", "Kept documents by retrieval rank", str(plots.ranks(bench.construction))
    yield f"{bench.name}-compression", "Words of units and of their sources", str(plots.compression(bench.construction))


def pictures(benches: list[Bench]) -> dict[str, str]:
    """Every picture of the page by its file's name."""
    found = {}
    for bench in benches:
        for name, _, plot in plotted(bench):
            forms = re.findall(r"<svg.*?</svg>", plot, flags=re.DOTALL)
            for suffix, svg in zip(("", "-narrow"), forms, strict=False):
                found[f"{name}{suffix}.svg"] = _alone(svg)
    return found


def _alone(svg: str) -> str:
    """An element of a page as a file of its own."""
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = svg.replace("<svg", f'<svg {names} width="{width}" height="{height}"', 1)
    return svg.replace("<title>", f"<style>{STYLE}</style><title>", 1) + "\n"


def _image(name: str, title: str) -> str:
    narrow = (
        f'\n  <source media="(max-width: 600px)" srcset="img/results/{name}-narrow.svg">' if "gains" in name else ""
    )
    return f'<picture>{narrow}\n  <img alt="{title}" src="img/results/{name}.svg">\n</picture>'


# -- files ------------------------------------------------------------------------------------------------------------


def main() -> None:
    from tables import write_block

    for report in sys.argv[1:]:
        store(json.loads(Path(report).read_text(encoding="utf-8")))
    benches = stored()
    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.glob("*.svg"):
        old.unlink()
    for name, text in pictures(benches).items():
        (IMAGES / name).write_text(text, encoding="utf-8")
    for name, text in blocks(benches).items():
        write_block(PAGE, name, text)
    write_block(ROOT / "README.md", "real", on_real_sets(benches))
    write_block(ROOT / "README.md", "replication", replicated(benches))


if __name__ == "__main__":
    main()

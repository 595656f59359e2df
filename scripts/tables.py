"""Generated tables of the documentation: `python scripts/tables.py [REPORT.json ...]`.

Every table stands between the markers `<!-- NAME:start -->` and `<!-- NAME:end -->` of its page and is made from
figures stored in this repository; a test compares them. A REPORT is the demo's (`workspace/reports/demo.json`), the
security benchmark's (`reports/security.json`) or a suite's (`reports/suites/NAME.json`). Figures of the first two are
stored in `docs/measured/`; a suite's tables are written from its report alone. Pictures: `scripts/figures.py`.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from lib import scale_tables
from lib.measured import Figure, number

from wbrag.evaluation.bench.figures import Bench
from wbrag.evaluation.bench.page import headline, provenance
from wbrag.evaluation.bench.tables import ARMS, clear, markdown, rankings

ROOT = Path(__file__).resolve().parents[1]
MEASURED, RESULTS = ROOT / "docs" / "measured", ROOT / "benchmarks" / "results"
Json = dict[str, Any]


def blocks() -> dict[tuple[str, str], str]:
    """Every table that stored figures give: its page and its marker, and what stands there."""
    demo, attacks = _read(MEASURED / "demo.json"), _read(MEASURED / "security.json")
    latest = [_read(file) for file in sorted(RESULTS.glob("*.json"))]
    runs = {f"results/{file.name}": _read(file) for file in RESULTS.glob("*.json")}
    runs |= {f"results/earlier/{file.name}": _read(file) for file in (RESULTS / "earlier").glob("*.json")}
    embedded = _read(ROOT / "wbrag" / "generators" / "embedded" / "quality.json")
    taught = _read(ROOT / "wbrag" / "generators" / "reader" / "reader.json")
    return {
        ("README.md", "demo"): caption(demo),
        ("docs/architecture.md", "modules"): modules(ROOT / "wbrag"),
        ("docs/experiments.md", "demo"): demo_tables(demo),
        ("docs/models.md", "reader"): reader(taught),
        ("docs/security.md", "security"): security(attacks),
        ("benchmarks/README.md", "speed"): speed(latest),
        **({("docs/scale.md", name): text for name, text in scale(runs).items()}),
        ("benchmarks/LOG.md", "runs"): history(runs),
        ("tools/demo_model/README.md", "quality"): quality(embedded),
    }


# -- the demo ---------------------------------------------------------------------------------------------------------


def demo_figures(report: Json) -> Json:
    """What is stored of a demo's report: scores, gains, what became of the examples, and on what it was measured."""
    story = report["story"]
    made = {name: story["provenance"][name] for name in ("hardware", "prompt_version", "seeds", "versions")}
    return {
        "made": {"commit": _commit(), **made},
        "seconds": round(report["seconds"]),
        "arms": story["arms"],
        "gains": story["gains"],
        "funnel": story["funnel"],
    }


def caption(demo: Json) -> str:
    """The line below the plot of gains."""
    n, units = demo["arms"][0]["n"], demo["funnel"]["units_published"]
    return (
        f"<sub>Points of accuracy with 95% intervals; {n} questions, {units} units; {demo['seconds']} s on "
        f"{demo['made']['hardware']}. [Tables](docs/experiments.md).</sub>"
    )


def demo_tables(demo: Json) -> str:
    """Scores of every library, and gains."""
    rows = ["| library | all | reworded | new facts |", "|---|---|---|---|"]
    for arm in demo["arms"]:
        cells = [_score(part) for part in (arm, arm["reworded"], arm["new_facts"])]
        rows.append(f"| {arm['label']}: {arm['description']} | {' | '.join(cells)} |")
    rows += ["", "| gain in points | | 95% interval | p | won, lost |", "|---|---|---|---|---|"]
    for gain in demo["gains"]:
        low, high = gain["ci95"]
        rows.append(
            f"| {gain['label']} | {100 * gain['gain']:+.1f} | {100 * low:+.1f} to {100 * high:+.1f} "
            f"| {gain['p']:.2g} | {gain['wins']}, {gain['losses']} |"
        )
    note = (
        f"Accuracy in % with 95% bootstrap intervals; p is McNemar's. {demo['arms'][0]['n']} questions, "
        f"{demo['made']['hardware']}, {demo['seconds']} s."
    )
    return "\n".join([*rows, "", note])


def _score(part: Json) -> str:
    low, high = part["ci95"]
    return f"{100 * part['score']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def quality(found: Json) -> str:
    """What the embedded model does right, by stage."""
    stages = {name: share for name, share in found.items() if name not in ("n", "seed")}
    rows = ["| stage | right |", "|---|---|", *(f"| {name} | {100 * share:.0f}% |" for name, share in stages.items())]
    return "\n".join([*rows, "", f"At most {found['n']} samples a line, measured under vLLM by `quality.py`."])


def reader(found: Json) -> str:
    """How the model reads without the adapter that ships and with it, and what the adapter was made of."""
    after = {one["name"]: one for one in found["quality"]["after"]}
    rows = ["| unseen questions | n | smollm2 | smollm2-reader |", "|---|---|---|---|"]
    for one in found["quality"]["before"]:
        cells = [_score({"score": part["mean"], "ci95": part["ci95"]}) for part in (one, after[one["name"]])]
        rows.append(f"| {one['name']} | {one['n']} | {' | '.join(cells)} |")
    exercises = ", ".join(f"{count} {kind}" for kind, count in found["exercises"].items())
    note = (
        f"In % with 95% bootstrap intervals, on questions of {', '.join(found['measured'])}. Taught with {exercises} "
        f"exercises of {', '.join(found['examples'])} and of archives like the demo's; it has seen no question or gold "
        f"passage of {', '.join(found['apart'])}."
    )
    return "\n".join([*rows, "", note])


# -- suites -----------------------------------------------------------------------------------------------------------


def suite(bench: Bench) -> str:
    """A suite's tables whole, and how they were made."""
    made = [f"{name}: {value}" for name, value in provenance(bench) if name != "suite"]
    return f"{headline(bench)}.\n\n{markdown(bench)}\nHow it was made: {'; '.join(made)}."


def grid(bench: Bench) -> str:
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


def _gain(r: Json) -> str:
    low, high = r["gain_ci95"]
    text = f"{100 * r['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"**{text}**" if clear(r) else text


# -- benchmarks -------------------------------------------------------------------------------------------------------


def speed(results: list[Json]) -> str:
    """The figures of the benchmarks that have a short name; a missed target says so."""
    rows = ["| | measured | target | command |", "|---|---|---|---|"]
    for result in results:
        for figure in (Figure(**f) for f in result["figures"]):
            if figure.short:
                met = {True: figure.wanted, False: f"{figure.wanted}: **missed**", None: ""}[figure.met]
                measured = f"{number(figure.value)} {figure.unit}".rstrip()
                rows.append(f"| {figure.short} | {measured} | {met} | `{Path(result['command']).name}` |")
    made = sorted({result["hardware"] for result in results})
    return "\n".join([*rows, "", f"On {'; '.join(made)}. Ratios are of runs side by side."])


def scale(runs: dict[str, Json]) -> dict[str, str]:
    """What three sizes of a workspace take, an update beside a whole build, and 10,000 units more before and now."""
    now = runs["results/scale.json"]
    before = next(run for file, run in sorted(runs.items()) if file.startswith("results/earlier/scale-"))
    return {
        "scale": scale_tables.steps(now),
        "updates": scale_tables.updates(now),
        "growth": scale_tables.growth(before, now),
        "kinds": scale_tables.kinds(runs["results/updates.json"]),
    }


def history(runs: dict[str, Json]) -> str:
    """A row for each run, newest first, with the targets that it missed."""
    rows = ["| run | commit | targets met | missed | host took |", "|---|---|---|---|---|"]
    for file, run in sorted(runs.items(), key=lambda item: (item[1]["when"], item[0]), reverse=True):
        targets = [figure for figure in (Figure(**f) for f in run["figures"]) if figure.target is not None]
        missed = [
            f"{figure.name}: {number(figure.value)} {figure.unit}".rstrip() for figure in targets if not figure.met
        ]
        met = f"{len(targets) - len(missed)} of {len(targets)}" if targets else ""
        taken = "" if run["taken_by_host"] is None else f"{run['taken_by_host']:.0%}"
        told = "; ".join(missed).replace("|D|", "D")
        rows.append(f"| [{run['name']}, {run['when']}]({file}) | {run['commit']} | {met} | {told} | {taken} |")
    return "\n".join(rows)


def security_figures(report: Json) -> Json:
    """What is stored of a security report, or of one of its parts: counts with their intervals."""
    kept = {name: report[name] for name in ("targets", "seeds", "injection") if name in report}
    for attack, found in report.get("poisoning", {}).items():
        rows = {
            name: {"poisoned": row["poisoned"]} if name.startswith("only ") else row
            for name, row in found["rows"].items()
        }
        kept.setdefault("poisoning", {})[attack] = {**found, "rows": rows}
    return {"made": {part: _commit() for part in ("poisoning", "injection") if part in report}, **kept}


def security(found: Json) -> str:
    """What poisoned passages and injected instructions come to."""
    attacks, i = found["poisoning"], found["injection"]
    plain = next(iter(attacks.values()))
    before = "all but dissent, source trusted"
    rows = [
        "| attack | passages a question, names | attack succeeds: poison in the corpus | units, without `dissent` "
        "| units, all checks | poisoned units in, without `dissent` | all checks | honest units held back |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in attacks.items():
        got, refused = one["rows"], one["refused"]
        last = got["all checks, source trusted"]
        cells = (
            f"{one['passages_each']}, {one['names']}",
            *(_share(got[row]["attacked"]) for row in ("poison in the corpus", before)),
            _share(last["attacked"]),
            _of(got[before]["poisoned"]),
            _of(last["poisoned"]),
            f"{_of(refused['true units, poison in the corpus'])} "
            f"({refused['true units, poison in the corpus, by dissent']['count']} by `dissent`)",
        )
        rows.append(f"| {name} | {' | '.join(cells)} |")
    refused, clean = plain["refused"], plain["rows"]["clean corpus"]
    alone = ", ".join(
        f"{name.removeprefix('only ').replace('_', ' ')} {row['poisoned']['count']}"
        for name, row in plain["rows"].items()
        if name.startswith("only ")
    )
    doubtful = plain["rows"]["all checks, source known as doubtful"]
    through = [text for one in attacks.values() for text in one["let in"]]
    notes = [
        f"{found['targets']} target questions, {found['seeds']} draws of them, pooled; in % with Wilson's interval. "
        f"The clean corpus answers {_share(clean['attacked'])} as the attacker wants, and {_share(clean['right'])} "
        "right. *Units*: the poison is out of the corpus again, and only units that were distilled from served answers "
        "are left of it; a unit counts as in where every check passes it, though what comes from traffic waits for a "
        "person all the same. *Honest units held back*: the demo's own true units that the checks refuse while "
        "the poison lies in the corpus.",
        f"Of {plain['rows']['no checks']['poisoned']['of']} poisoned units of the first attack each check alone lets "
        f"in: {alone} (trust: of a source known as doubtful, the others: of a trusted one); all of them together, of a "
        f"source known as doubtful, {doubtful['poisoned']['count']}.",
        f"Of the demo's units, three times over, the checks refuse {_of(refused['false units'])} that say something "
        f"false, and {_of(refused['true units'])} that do not ({_of(refused['true units, by dissent'])} by `dissent`).",
        "What still gets in, word for word: " + ("; ".join(f"“{text}”" for text in through) or "nothing") + ".",
        f"Of {i['caught']['of']} injected instructions the check catches {i['caught']['count']} as units "
        f"(missed: {', '.join(i['missed']) or 'none'}), with {i['false alarms']['count']} false alarms on "
        f"{i['false alarms']['of']:,} honest texts. The answer obeys in {_share(i['obeyed']['delimited'])} of "
        f"{i['obeyed']['delimited']['of']} prompts ({_share(i['obeyed']['raw'])} without the defused document block, "
        f"{_share(i['obeyed']['clean'])} without an injection); a model of 6.4M parameters hardly follows "
        "instructions, so ask your own.",
    ]
    return "\n\n".join(["\n".join(rows), *notes])


def _of(part: Json) -> str:
    return f"{part['count']} of {part['of']}"


def _share(part: Json) -> str:
    return _score({"score": part["share"], "ci95": part["ci95"]})


# -- modules ----------------------------------------------------------------------------------------------------------

ROOMS = "cli serving evaluation executor training units enrich methods generators retrieval data core".split()


def modules(package: Path) -> str:
    """A table for each room: its modules, and line 1 of each."""
    tables = []
    for room in ROOMS:
        files = sorted((package / room).rglob("*.py"))
        lines = {file: ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "" for file in files}
        rows = [f"| `{_module(file, package / room)}` | {_cell(text)} |" for file, text in lines.items() if text]
        tables.append("\n".join([f"### `{room}/`", "", "| module | |", "|---|---|", *rows]))
    return "\n\n".join(tables)


def _module(file: Path, room: Path) -> str:
    path = file.relative_to(room)
    return str(path) if path.name != "__init__.py" else f"{path.parent}/" if path.parent.name else "./"


def _cell(docstring: str) -> str:
    return docstring.splitlines()[0].replace("|", "\\|")


# -- files ------------------------------------------------------------------------------------------------------------


def block(file: Path, name: str) -> str:
    """What stands between the markers of `name` now."""
    return _parts(file, name)[1].strip("\n")


def write_block(file: Path, name: str, text: str) -> None:
    """Replace what stands between the markers of `name`."""
    before, _, after = _parts(file, name)
    file.write_text(f"{before}\n{text}\n{after}", encoding="utf-8")


def _parts(file: Path, name: str) -> tuple[str, str, str]:
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, found, rest = file.read_text(encoding="utf-8").partition(start)
    inside, closed, after = rest.partition(end)
    if not found or not closed:
        sys.exit(f"expected {start} and {end} in {file}, found none: add them where the table belongs")
    return before + start, inside, end + after


def _read(file: Path) -> Json:
    found: Json = json.loads(file.read_text(encoding="utf-8"))
    return found


def _store(name: str, figures: Json) -> None:
    (MEASURED / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short=9", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return found.stdout.strip() or "unknown"


def main() -> None:
    for report in map(_read, map(Path, sys.argv[1:])):
        if "story" in report:
            _store("demo", demo_figures(report))
        elif report["name"] == "security":
            stored, found = _read(MEASURED / "security.json"), security_figures(report)
            made = stored["made"] | found["made"]
            _store("security", {name: (stored | found | {"made": made})[name] for name in stored})
        else:
            bench = Bench(**report)
            write_block(ROOT / "suites" / "RESULTS.md", bench.name, suite(bench))
            if bench.rankings:
                write_block(ROOT / "docs" / "retrieval.md", bench.name, markdown(bench, rankings(bench)))
            if bench.name == "demo":
                write_block(ROOT / "docs" / "experiments.md", "grid", grid(bench))
    for (page, name), text in blocks().items():
        write_block(ROOT / page, name, text)


if __name__ == "__main__":
    main()

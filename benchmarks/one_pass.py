"""wbrag's one pass against a processor per stage: `python benchmarks/one_pass.py [--workspace DIR] [--quick]`.

The same enrichment of the same questions of the demo, round trip included as it is by default: once as wbrag does it,
one Ray Data pass of coroutines over one engine, and once as one `ray.data.llm` processor per stage
(`lib/processor_per_stage.py`). wbrag's pass runs before and after the peer's ten minutes, and the mean of the two
counts: the speed of a machine that is shared with others changes meanwhile. Verdicts are compared field by field.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from lib.enrichment import Pass, Row, demo, one_pass
from lib.measured import Figure, arguments, record
from lib.processor_per_stage import Found, ProcessorPerStage

from wbrag.core.types import Example
from wbrag.workspace import Workspace

FIELDS = (
    "closed_book",
    "open_book",
    "s_nr",
    "s_rag",
    "s_doc",
    "accepted",
    "retained",
    "evidence",
    "unit_title",
    "unit_text",
    "s_unit",
    "s_kept",
)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--workspace", help="a folder for the demo's indexed corpus, kept between runs")
    options = parser.parse_args()
    count = 24 if options.quick else 300
    with demo(options.workspace) as workspace:
        examples = workspace.examples("demo/train", count)
        before = ours(workspace, examples)
        staged = ProcessorPerStage(workspace)
        found = staged.run(examples, brief=options.quick)
        after = ours(workspace, examples)
    start_s, rows_s = (before.start_s + after.start_s) / 2, (before.rows_s + after.rows_s) / 2
    for stage, start, seconds in staged.stages:
        print(f"{stage:12} start {start:6.1f} s, rows {seconds:6.1f} s")
    different = differing(before.rows, found, FIELDS[:4] if options.quick else FIELDS)
    if different:
        print("rows that differ, by the first field in which they do:", different)
    whole, theirs = start_s + rows_s, staged.start_s + staged.rows_s
    figures = [
        Figure(
            "faster than one processor per stage, engine starts included",
            theirs / whole,
            target=2.0,
            short="Enrichment over one `ray.data.llm` processor per stage, engine starts included",
        ),
        Figure(
            "the same, engine starts excluded",
            staged.rows_s / rows_s,
            target=1.0,
            short="The same, engine starts excluded",
        ),
        Figure("one pass, starts included", whole, "s", better="lower"),
        Figure("one pass, the rows alone", rows_s, "s", better="lower"),
        Figure("the same, before the peer", before.rows_s, "s", better="lower"),
        Figure("the same, after it", after.rows_s, "s", better="lower"),
        Figure("a processor per stage, starts included", theirs, "s", better="lower"),
        Figure("a processor per stage, from each one's first request on", staged.rows_s, "s", better="lower"),
        Figure("verdicts that differ", sum(different.values()), f"of {count}", target=0, better="lower"),
    ]
    calls = sum(row["calls"] for row in before.rows)
    stages = len(staged.stages) - 1
    about = f"{count} examples of the demo, {calls} calls in one pass and {staged.calls} in {stages} stages."
    record("one_pass", "python benchmarks/one_pass.py", figures, about, quick=options.quick, note=options.note)


def ours(workspace: Workspace, examples: Sequence[Example]) -> Pass:
    with tempfile.TemporaryDirectory() as scratch:
        found = one_pass(workspace, examples, Path(scratch))
    workspace.close()
    return found


def differing(rows: Sequence[Row], theirs: Sequence[Found], fields: Sequence[str]) -> dict[str, int]:
    """How many rows differ, by the first field in which they do."""
    found: dict[str, int] = {}
    for mine, other in zip(rows, theirs):
        told = comparable(mine)
        first = next((name for name in fields if told[name] != plain(other, name)), None)
        if first:
            found[first] = found.get(first, 0) + 1
    return found


def comparable(row: Row) -> Row:
    return {
        **row,
        "s_doc": list(row["s_doc"] or []),
        "retained": list(row["retained"] or []),
        "evidence": [(e["passage_id"], e["sentence"]) for e in row["evidence"] or []],
    }


def plain(found: Found, name: str) -> object:
    value = getattr(found, name)
    return [(e.passage_id, e.sentence) for e in value] if name == "evidence" else value


if __name__ == "__main__":
    main()

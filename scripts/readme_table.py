"""Write the demo's measured table into README.md: `python scripts/readme_table.py workspace/reports/demo.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

START, END = "<!-- demo:start -->", "<!-- demo:end -->"


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


def main() -> None:
    readme = Path(__file__).resolve().parents[1] / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    demo = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    readme.write_text(f"{before}{START}\n{table(demo)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

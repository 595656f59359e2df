"""Write the measured tables into the READMEs: `python scripts/readme_table.py workspace/reports/demo.json`.

The demo's go into README.md, the embedded model's (`wbrag/demo/model/quality.json`) into `wbrag/demo/README.md`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


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


def write_between(file: Path, start: str, end: str, text: str) -> None:
    """Replace what stands between the markers."""
    before, _, rest = file.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    file.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    demo = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    write_between(root / "README.md", "<!-- demo:start -->", "<!-- demo:end -->", table(demo))
    found = json.loads((root / "wbrag" / "demo" / "model" / "quality.json").read_text(encoding="utf-8"))
    model_page = root / "wbrag" / "demo" / "README.md"
    write_between(model_page, "<!-- quality:start -->", "<!-- quality:end -->", quality(found))


if __name__ == "__main__":
    main()

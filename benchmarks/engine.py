"""wbrag's pass against the bare engine: `python benchmarks/engine.py [--workspace DIR] [--quick]`.

The peer is `vllm.LLM.generate` in one process, given every prompt of a stage at once, with no retrieval, no gate and
no Ray: the prompts of wbrag's own pass are made again from its verdicts. Both arms have the same engine options and
begin with empty caches, each in processes of its own; the order alternates, and the better run of each counts.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bare import Replay, replay
from enrichment import Ask, Pass, demo, differing, one_pass, passages, stages
from measured import Figure, arguments, record

from wbrag.workspace import Workspace

ROUNDS = 2


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--workspace", help="a folder for the demo's indexed corpus, kept between runs")
    parser.add_argument("--examples", type=int, help="default: 300, and 48 with --quick")
    options = parser.parse_args()
    count = options.examples or (48 if options.quick else 300)
    with demo(options.workspace) as workspace:
        ours, bare, asked = measure(workspace, count, 1 if options.quick else ROUNDS)
    calls = bare.calls
    wrong = differing(asked, bare)
    print(f"rows per second: {count / ours.rows_s:.2f} against {count / bare.seconds:.2f}")
    for (stage, asks), batch in zip(asked.items(), bare.batches):
        print(f"  {stage}: {len(asks)} prompts, {batch.seconds:.1f} s bare")
    figures = [
        Figure(
            "throughput of one pass over the bare engine's",
            bare.seconds / ours.rows_s,
            target=0.95,
            short="enrichment against the bare engine",
        ),
        Figure("one pass, retrieval, gates and Ray included", calls / ours.rows_s, "calls/s"),
        Figure("bare engine, barriered batches", calls / bare.seconds, "calls/s"),
        Figure("start of wbrag's models and of Ray", ours.start_s, "s", better="lower"),
        Figure("start of the bare engine", bare.start_s, "s", better="lower"),
        Figure("replies that differ", wrong, "of them"),
    ]
    about = f"{count} examples of the demo, {calls} calls, the same prompts, engine starts excluded."
    record("engine", "python benchmarks/engine.py", figures, about, quick=options.quick, note=options.note)


def measure(workspace: Workspace, count: int, rounds: int) -> tuple[Pass, Replay, dict[str, list[Ask]]]:
    examples = workspace.examples("demo/train", count)
    ours: list[Pass] = []
    bare: list[Replay] = []
    asked: dict[str, list[Ask]] = {}
    for turn in range(rounds):
        for arm in ("wbrag", "bare") if turn % 2 == 0 else ("bare", "wbrag"):
            if arm == "wbrag":
                with tempfile.TemporaryDirectory() as scratch:
                    ours.append(one_pass(workspace, examples, Path(scratch)))
                workspace.close()
                if not asked:
                    asked = stages(ours[0].rows, passages(workspace), workspace.config)
                print("wbrag", round(ours[-1].start_s, 1), round(ours[-1].rows_s, 2))
            else:
                bare += replay([list(asked.values())], workspace.config)
                print("bare", round(bare[-1].start_s, 1), round(bare[-1].seconds, 2))
    return min(ours, key=lambda p: p.rows_s), min(bare, key=lambda r: r.seconds), asked


if __name__ == "__main__":
    main()

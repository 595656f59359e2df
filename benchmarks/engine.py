"""wbrag's pass against the bare engine: `python benchmarks/engine.py [--workspace DIR] [--quick]`.

The peer is `vllm.LLM.generate` in one process, given every prompt of a stage at once, with no retrieval, no gate and
no Ray: the prompts of wbrag's own pass are made again from its verdicts. Both arms have the same engine options and
begin with empty caches, each in processes of its own; the order alternates, and the better run of each counts.

Twice: on all cores, where the engine's threads and wbrag's other processes take turns, and with the engine on a core
that nothing else of wbrag runs on, as an engine has a GPU. The second says how well a pass keeps its engine busy.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.bare_engine import Replay, replay
from lib.enrichment import Ask, Pass, WrappedJob, demo, differing, one_pass, passages, stages
from lib.measured import Figure, arguments, record
from lib.timed_calls import TimedGenerator, ends, middle_rate

from wbrag.workspace import Workspace

ROUNDS = 2


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--workspace", help="a folder for the demo's indexed corpus, kept between runs")
    parser.add_argument("--examples", type=int, help="default: 300, and 48 with --quick")
    options = parser.parse_args()
    count = options.examples or (48 if options.quick else 300)
    rounds = 1 if options.quick else ROUNDS
    with demo(options.workspace) as workspace:
        shared, apart = (measure(workspace, count, rounds, core) for core in (None, 0))
    for (stage, asks), batch in zip(shared.asked.items(), shared.bare.batches):
        print(f"  {stage}: {len(asks)} prompts, {batch.seconds:.1f} s bare")
    figures = [
        *_figures(shared, "all cores shared"),
        *_figures(apart, "engine on a core of its own"),
    ]
    about = f"{count} examples of the demo, {shared.bare.calls} calls, the same prompts, engine starts excluded."
    record("engine", "python benchmarks/engine.py", figures, about, quick=options.quick, note=options.note)


def _figures(found: Found, where: str) -> list[Figure]:
    ours, bare = found.ours, found.bare
    short = f"Enrichment's throughput over the bare engine's, {where}"
    wrong = differing(found.asked, bare)
    return [
        Figure(
            f"{where}: one pass / bare engine, the middle 80% of the calls",
            middle_rate(found.ends) / middle_rate(bare.ends),
            target=0.9,
            short=short,
        ),
        Figure(f"{where}: one pass / bare engine, first and last tenth included", bare.seconds / ours.rows_s),
        Figure(f"{where}: one pass, retrieval, gates and Ray included", bare.calls / ours.rows_s, "calls/s"),
        Figure(f"{where}: bare engine, barriered batches", bare.calls / bare.seconds, "calls/s"),
        Figure(f"{where}: start of wbrag's models and of Ray", ours.start_s, "s", better="lower"),
        Figure(f"{where}: start of the bare engine", bare.start_s, "s", better="lower"),
        Figure(f"{where}: replies that differ", wrong, "of them"),
    ]


@dataclass(frozen=True)
class Found:
    """The better run of each arm, and the prompts of both by stage."""

    ours: Pass
    ends: list[float]  # of our calls
    bare: Replay
    asked: dict[str, list[Ask]]


def measure(workspace: Workspace, count: int, rounds: int, core: int | None) -> Found:
    """Both arms on all cores, or the engine alone on one `core` and wbrag's other processes on the others."""
    examples = workspace.examples("demo/train", count)
    ours: list[tuple[Pass, list[float]]] = []
    bare: list[Replay] = []
    asked: dict[str, list[Ask]] = {}
    for turn in range(rounds):
        for arm in ("wbrag", "bare") if turn % 2 == 0 else ("bare", "wbrag"):
            if arm == "wbrag":
                with tempfile.TemporaryDirectory() as scratch:
                    timed = Path(scratch, "ends")
                    wrapped = partial(WrappedJob, wrap=partial(TimedGenerator, file=timed))
                    made = one_pass(workspace, examples, Path(scratch, "v"), core, wrapped)
                    ours.append((made, ends(timed)))
                workspace.close()
                asked = asked or stages(made.rows, passages(workspace.layout), workspace.config)
                print(f"wbrag: start {made.start_s:.1f} s, rows {made.rows_s:.1f} s", flush=True)
            else:
                bare += replay([list(asked.values())], workspace.config, core)
                print(f"bare: start {bare[-1].start_s:.1f} s, rows {bare[-1].seconds:.1f} s", flush=True)
    return Found(*min(ours, key=lambda one: one[0].rows_s), min(bare, key=lambda r: r.seconds), asked)


if __name__ == "__main__":
    main()

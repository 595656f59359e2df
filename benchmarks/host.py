"""What an enrichment call costs the host: `python benchmarks/host.py [--engines 1 2 4 8] [--quick]`.

No GPU: vLLM's own front and scheduler run, and its executor sleeps for as long as the tokens of a step take at the rate
that was asked for (`lib/sleeping_executor.py`); replies are those that the paper's shares call for
(`lib/paper_sized.py`). So what is measured is all that a host does beside the model: CPU a call by process, calls from
process to process, and how busy the busiest thread is. With 2, 4 and 8 engines each has its share of the same rate.
The first and the last tenth of the calls are left out. What the stand-in itself takes is in its figure, the engine's
core, and in no other; looking costs CPU too, which is taken off the driver's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray
from lib import host_actors
from lib.counters import FOLDER, counted
from lib.enrichment import WrappedJob
from lib.measured import BENCHMARKS, Figure, arguments, record
from lib.paper_sized import TINY, Script, Scripted, sizes, write_questions
from lib.sleeping_rate import RATE
from lib.threads import Looks, busiest, by_role, looking

from wbrag.core.config import Config, load
from wbrag.enrich.row_jobs import EnrichJob
from wbrag.executor.ray.row_pass import run_rows
from wbrag.workspace import Workspace

CORE = "EngineCore"
RETRIEVAL = ("EncoderActor", "ShardActor")
ROLES = (CORE, "EngineActor", "DispatchActor", *RETRIEVAL, "raylet", "gcs_server")
PROMPT = 280  # tokens of the paper's prompts, by the embedded model's tokenizer


@dataclass(frozen=True)
class Found:
    """One pass: the calls and seconds of its middle, CPU seconds by process, remote calls of all of it."""

    engines: int
    calls: int
    seconds: float
    cpu: dict[str, float]
    busiest: tuple[str, float]
    remote: float

    def host_ms(self, but: Sequence[str] = ()) -> float:
        """CPU milliseconds of a call outside the engine's core, and outside what `but` names."""
        return 1e3 * sum(s for role, s in self.cpu.items() if role != CORE and role not in but) / self.calls


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--engines", type=int, nargs="+", help="default: 1 2 4 8, and 1 with --quick")
    parser.add_argument("--examples", type=int, help="default: 3,000, and 600 with --quick")
    parser.add_argument("--rate", type=float, default=150.0, help="calls a second of all engines together")
    given = parser.parse_args()
    counts = given.engines or ([1] if given.quick else [1, 2, 4, 8])
    examples = given.examples or (600 if given.quick else 3000)
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (BENCHMARKS, BENCHMARKS.parent)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        TINY.write(folder / "model")
        write_questions(folder, examples, 2000)
        prepare(folder)
        host_actors.install()
        found = []
        for engines in counts:
            found.append(measure(folder, engines, given.rate))
            for figure in figures(found[-1]):
                print(f"  {figure.name}: {figure.value:.3g} {figure.unit}", flush=True)
    told = [figure for one in found for figure in figures(one)]
    if len(found) > 1:
        short = f"CPU of a call with {counts[-1]} engines over {counts[0]}"
        told.append(_low(short, found[-1].host_ms() / found[0].host_ms(), "x", 1.1, short))
    about = f"{examples:,} examples of the paper's sizes, {given.rate:g} calls a second of all engines asked for."
    record("host", "python benchmarks/host.py", told, about, quick=given.quick, note=given.note)


def settings(folder: Path, engines: int = 1) -> Config:
    engine = {"load_format": "dummy"}
    generator = {"model": str(folder / "model"), "engines": (engines, engines), "engine": engine}
    return load(workspace=str(folder / "workspace"), generator=generator)


def prepare(folder: Path) -> None:
    with Workspace(folder / "workspace", settings(folder)) as workspace:
        workspace.ingest_corpus(folder / "corpus.jsonl")
        workspace.ingest_examples(folder / "train.jsonl", "paper", "train", task="nq")
        workspace.index()


def measure(folder: Path, engines: int, rate: float) -> Found:
    counts = folder / f"counts-{engines}"
    counts.mkdir()
    os.environ |= {FOLDER: str(counts), RATE: str(rate * PROMPT / engines)}
    ray.init(address="local", num_cpus=4 * engines + 4, include_dashboard=False, log_to_driver=False)
    script = Script(*sizes(), str(folder / "model" / "tokenizer.json"))
    with Workspace(folder / "workspace", settings(folder, engines)) as workspace:
        examples = workspace.examples("paper/train")
        handles = workspace.session.handles(workspace.path / "index", workspace.indexes("none"))
        job = WrappedJob(EnrichJob(workspace.config), partial(Scripted, script=script))
        before = counted()
        with looking(ROLES, lambda: counted()["calls"]) as looks:
            run_rows(workspace.config, job, lambda: handles, examples, folder / f"rows-{engines}")
        made = counted() - before
    ray.shutdown()
    remote = {name: count for name, count in made.items() if name.startswith(host_actors.CALLS)}
    print(" ", ", ".join(f"{name} {count:,}" for name, count in {**remote, "generations": made["calls"]}.items()))
    return _found(engines, looks, sum(remote.values()) / made["calls"])


def _found(engines: int, looks: Looks, remote: float) -> Found:
    begun, ended = looks.middle()
    cpu = by_role(begun, ended)
    return Found(
        engines, ended.calls - begun.calls, ended.at - begun.at, dict(cpu), busiest(begun, ended, but=CORE), remote
    )


def figures(found: Found) -> Iterator[Figure]:
    of = f"{found.engines} engine{'s' * (found.engines > 1)}"
    one = found.engines == 1
    thread, share = found.busiest
    rate = found.calls / found.seconds
    all_in, bare = "CPU of the host a call, retrieval on a CPU", "The same without encoder and shards"
    yield Figure(f"{of}: rate of the middle 80%", rate, "calls/s")
    yield _low(f"{of}: CPU a call, all but the core", found.host_ms(), "ms", 5.0, all_in if one else "")
    yield _low(f"{of}: the same without encoder and shards", found.host_ms(RETRIEVAL), "ms", 3.0, bare if one else "")
    yield _low(f"{of}: remote calls a generation", found.remote, "", 0.05, "Remote calls of a call" if one else "")
    yield Figure(f"{of}: busiest thread, of {thread}", share, "of a core")
    if one:
        short = "Calls a second that one front is good for"
        yield Figure(f"{of}: calls a second of that thread's core", rate / share, "calls/s", 400.0, short=short)
    for role, seconds in sorted(found.cpu.items(), key=lambda part: -part[1]):
        yield Figure(f"{of}: CPU of {role}", 1e3 * seconds / found.calls, "ms a call")


def _low(name: str, value: float, unit: str, most: float, short: str) -> Figure:
    return Figure(name, value, unit, most, "lower", short)


if __name__ == "__main__":
    main()

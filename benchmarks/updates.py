"""A corpus of many shards that changes: what an update costs by how many passages change, and how they lie.

`python benchmarks/updates.py [--quick] [--passages 1000000] [--shards 32] [--folder DIR]`: some 15 minutes, 12 GB of
disk in DIR. The passages of one source change side by side, those of a day anywhere; some are deleted. Corpus and
encoder are those of `scale.py`.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lib.measured import arguments, record
from lib.scale_world import write, write_encoder
from lib.workbench import Step, Workbench, figures

QUICK = 2_000
TIMES = (
    (0.001, "side by side"),
    (0.01, "side by side"),
    (0.1, "side by side"),
    (0.00001, "anywhere"),
    (0.001, "anywhere"),
)
DELETED = 0.001


def steps(bench: Workbench, passages: int) -> Iterator[Step]:
    corpus = write(bench.folder / "corpus.jsonl", range(passages))
    yield bench.step("ingest, all", "ingest", "corpus", str(corpus))
    yield bench.step("index, all", "index")
    for version, (share, how) in enumerate(TIMES, 1):
        count = max(1, int(passages * share))
        first = (passages - count) // 2
        side = range(first, first + count)
        numbers = sorted(random.Random(version).sample(range(passages), count)) if how == "anywhere" else side
        changed = write(bench.folder / "changed.jsonl", numbers, version)
        name = f"{count:,} changed {how}"
        yield bench.step(f"ingest, {name}", "ingest", "corpus", str(changed), "--update")
        yield bench.step(f"index, {name}", "index")
    ids, gone = bench.folder / "gone.txt", int(passages * DELETED)
    ids.write_text("".join(f"p{number}\n" for number in range(gone)), encoding="utf-8")
    name = f"{gone:,} deleted side by side"
    yield bench.step(f"ingest, {name}", "ingest", "corpus", "--update", f"--delete={ids}")
    yield bench.step(f"index, {name}", "index")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    options = parser.parse_args()
    passages = QUICK if options.quick else options.passages
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Workbench(
            Path(folder) / "one", write_encoder(Path(folder) / "encoder"), index={"shards": options.shards}
        )
        found = list(figures(steps(bench, passages), f"{passages:,} passages in {options.shards} shards"))
    about = f"{passages:,} passages in {options.shards} shards, a whole build and six updates"
    record("updates", "benchmarks/updates.py", found, about, quick=options.quick, note=options.note)


if __name__ == "__main__":
    main()

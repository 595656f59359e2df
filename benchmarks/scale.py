"""Three sizes of one workspace, a step at a time: seconds, CPU seconds and peak memory of every command.

`python benchmarks/scale.py [--quick] [--sizes 10000 100000 1000000] [--folder DIR]`: about an hour for the three, 12 GB
of disk in DIR; a run of some sizes joins what is on record of others. Corpus, encoder and units are made
(`lib/scale_world.py`); units are a tenth of the passages. What is measured are the commands that people type, each a
fresh process with all that Ray starts for it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
from lib.endpoints import free_port
from lib.measured import RESULTS, Figure, arguments, record
from lib.scale_world import passage, write, write_encoder, write_verdicts
from lib.silent_model import silent_model
from lib.watched import watched
from lib.workbench import Step, Workbench, figures

SIZES, QUICK = (10_000, 100_000, 1_000_000), (2_000,)
CHANGED = (0.001, 0.01, 0.1)  # shares of the corpus
MANY, LISTS = 1_000_000, "IVF1024,SQfp16"  # from so many passages on an index with lists, as docs/cluster.md advises
SEARCHES, STARTED_S = 100, 600


class Bench(Workbench):
    """One size of everything, in a folder of its own."""

    def __init__(self, folder: Path, encoder: Path, passages: int) -> None:
        self.passages, self.units = passages, passages // 10
        factory = LISTS if passages >= MANY else "SQfp16"
        super().__init__(folder, encoder, checks={"policy": "auto"}, index={"factory": factory})

    def steps(self) -> Iterator[Step]:
        corpus = write(self.folder / "corpus.jsonl", range(self.passages))
        yield self.step("ingest", "ingest", "corpus", str(corpus))
        yield self.step("index", "index")
        write_verdicts(self.workspace / "verdicts" / "made", self.passages)
        folder = str(self.workspace / "verdicts" / "made")
        yield self.python(f"summary of {self.passages:,} rows", "-m", "lib.scale_world", "summary", folder)
        more = max(10, self.units // 100)
        yield self.shelve("shelve", 0, self.units - more)
        yield self.step("check", "check")
        yield self.step("publish", "publish")
        yield self.step("units list", "units", "list", "--limit", "50")
        yield self.step("search", "search", passage(7)["text"])
        yield from self.serve()
        yield self.shelve("1% more units", self.units - more, more)
        yield self.step("publish 1% more", "publish")
        yield self.step("rollback", "releases", "rollback", "r0001", "--why", "measured")
        for share in CHANGED:
            yield from self.update(share)
        yield self.step("publish after the updates", "publish")

    def shelve(self, name: str, first: int, count: int) -> Step:
        return self.python(name, "-m", "lib.scale_world", "shelve", str(self.workspace), str(first), str(count))

    def update(self, share: float) -> Iterator[Step]:
        """So many passages change, one after the other from the middle on; those of units are among them."""
        count = max(1, int(self.passages * share))
        first = (self.passages - count) // 2
        file = write(self.folder / "changed.jsonl", range(first, first + count), version=1 + int(share * 1000))
        yield self.step(f"ingest {share:.1%} changed", "ingest", "corpus", str(file), "--update")
        yield self.step(f"index {share:.1%} changed", "index")

    def serve(self) -> Iterator[Step]:
        """The endpoint: until it answers, searches one after the other, and the desk's pages."""
        port = free_port()
        one = [f"--serving.{name}=[1,1]" for name in ("gateways", "retrievers")]
        arguments = ["-m", "wbrag.cli", "serve", *self.settings, f"--serving.port={port}", *one]
        with silent_model() as url, (self.folder / "serve.txt").open("wb") as out:
            model = ["--generator.backend=openai", f"--generator.base_url={url}", "--generator.model=silent"]
            child = subprocess.Popen(
                [sys.executable, *arguments, *model], env=self.environment, cwd=self.folder, stdout=out, stderr=out
            )
            try:
                yield from self.asked(port, child)
            finally:
                child.terminate()
                child.wait(120)

    def asked(self, port: int, child: subprocess.Popen[bytes]) -> Iterator[Step]:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=STARTED_S) as client:
            with watched(lambda: psutil.Process(child.pid)) as start:
                self.first_answer(client, child)
            yield "serve, to the first hit", start, 0
            with watched(lambda: psutil.Process(child.pid)) as searched:
                for number in range(SEARCHES):
                    hits(client, passage(number * 31 % self.passages)["text"])
            yield f"serve, {SEARCHES} searches", searched, 0
            with watched(lambda: psutil.Process(child.pid)) as pages:
                for page in ("/desk", "/desk?state=approved&q=Item+7", "/desk/releases", "/desk/usage"):
                    client.get(page).raise_for_status()
            yield "serve, four pages of the desk", pages, 0

    def first_answer(self, client: httpx.Client, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + STARTED_S
        while time.monotonic() < deadline and child.poll() is None:
            with suppress(httpx.HTTPError):
                hits(client, passage(1)["text"])
                return
            time.sleep(0.2)
        raise RuntimeError(f"no answer: {(self.folder / 'serve.txt').read_text()[-2000:]}")


def hits(client: httpx.Client, question: str) -> None:
    found = client.post("/v1/search", json={"query": question, "k": 5})
    found.raise_for_status()
    assert found.json()["hits"], found.text


def sized(folder: Path, sizes: Sequence[int]) -> Iterator[Figure]:
    encoder = write_encoder(folder / "encoder")
    for passages in sizes:
        place = folder / str(passages)
        yield from figures(Bench(place, encoder, passages).steps(), f"{passages:,} passages")
        shutil.rmtree(place)


def others(sizes: Sequence[int]) -> list[Figure]:
    """What is on record of other sizes: a run of one joins it."""
    latest = RESULTS / "scale.json"
    mine = tuple(f"{size:,} passages: " for size in sizes)
    there = json.loads(latest.read_text(encoding="utf-8"))["figures"] if latest.is_file() else []
    return [Figure(**figure) for figure in there if not figure["name"].startswith(mine)]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="passages; units are a tenth of them")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    options = parser.parse_args()
    sizes = QUICK if options.quick else options.sizes
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = list(sized(Path(folder), sizes))
    about = f"{', '.join(f'{size:,}' for size in sizes)} passages, a tenth as many units"
    if not options.quick:
        found += others(sizes)
    record("scale", "benchmarks/scale.py", found, about, quick=options.quick, note=options.note)


if __name__ == "__main__":
    main()

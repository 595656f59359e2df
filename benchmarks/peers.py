"""Naive RAG evaluated by wbrag and by FlashRAG: `python benchmarks/peers.py --data DIR --flashrag DIR [--quick]`.

The same questions, passages, encoder, language model, prompts and top 5 from the raw files to the score, each side in a
process of its own and one after the other. `--data` holds corpus.jsonl(.gz) and nq/dev.jsonl in FlashRAG's format, with
the ids of the gold passages in each question's metadata; of it 300 questions and 6,000 passages and the gold ones are
taken. `--quick` takes 40 questions of the demo's world, and no data. FlashRAG is no part of wbrag's requirements:

    pip install --no-deps --target DIR flashrag-dev==0.3.0.dev20260919 datasets multiprocess dill xxhash langid \\
        base58 rouge rouge-chinese jieba rank_bm25 bm25s nltk termcolor

The embedded model has read nothing of Wikipedia: scores there are near 0, and say only that both sides do the same.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import psutil  # type: ignore[import-untyped]
from lib.measured import Figure, arguments, record

from wbrag.core.errors import WbragError
from wbrag.core.reading import read_answer
from wbrag.data.demo.facts import demo_world, examples

HERE = Path(__file__).resolve().parent
QUESTIONS, PASSAGES, QUICK = 300, 6000, 40
LOOK_S = 0.25
Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """What one side took: seconds by stage and as a whole process, most bytes of all its processes together."""

    stages: dict[str, float]
    whole_s: float
    process_s: float
    calls: int
    peak: int
    score: dict[str, float]
    answers: dict[str, str]
    hits: dict[str, list[str]]

    @property
    def work_s(self) -> float:
        """Without the start of Python, Ray and the models."""
        return sum(seconds for stage, seconds in self.stages.items() if stage != "start")


def main() -> None:
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="wbrag-peers-") as scratch:
        folder = Path(scratch) / "peers"
        folder.mkdir()
        count, passages = _demo(folder) if args.quick else _small_bench(args.data, folder)
        theirs = _run("flashrag", folder, str(args.flashrag))
        ours = _run("wbrag", folder)
    about = (
        f"{count} questions, {passages:,} passages, naive RAG with the 5 best, both sides from raw files to the score."
    )
    record("peers", "python benchmarks/peers.py", _told(ours, theirs), about, quick=args.quick, note=args.note)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, help="corpus.jsonl(.gz) and nq/dev.jsonl in FlashRAG's format")
    parser.add_argument("--flashrag", type=Path, required=True, help="where FlashRAG was installed")
    args = parser.parse_args()
    if not args.quick and not (args.data and (args.data / "nq" / "dev.jsonl").is_file()):
        parser.error("expected nq/dev.jsonl and corpus.jsonl(.gz) in --data, found none: give their folder, or --quick")
    if not (args.flashrag / "flashrag").is_dir():
        parser.error(f"expected FlashRAG in {args.flashrag}, found none: install it there as the help says")
    return args


def _small_bench(data: Path, folder: Path) -> tuple[int, int]:
    """The first questions, and the first passages with the gold ones of these questions."""
    with (data / "nq" / "dev.jsonl").open(encoding="utf-8") as file:
        asked = [json.loads(line) for _, line in zip(range(QUESTIONS), file)]
    gold = {id for row in asked for id in row["metadata"]["gold"]}
    with _opened(data) as file:
        kept = [row for i, row in enumerate(map(json.loads, file)) if i < PASSAGES or row["id"] in gold]
    return _written(folder, asked, kept)


def _opened(data: Path) -> TextIO:
    plain = data / "corpus.jsonl"
    if plain.is_file():
        return plain.open(encoding="utf-8")
    return gzip.open(f"{plain}.gz", "rt", encoding="utf-8")


def _demo(folder: Path) -> tuple[int, int]:
    sets = examples()["reworded"][:QUICK]
    asked = [{"id": e.id, "question": e.question, "golden_answers": list(e.golden_answers)} for e in sets]
    return _written(folder, asked, [{"id": p.id, "contents": f"{p.title}\n{p.text}"} for p in demo_world().passages])


def _written(folder: Path, asked: Sequence[Row], passages: Sequence[Row]) -> tuple[int, int]:
    for name, rows in (("dev", asked), ("corpus", passages)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(asked), len(passages)


def _run(side: str, folder: Path, *more: str) -> Side:
    """One side in a process of its own, its memory looked at until it ends."""
    command = [sys.executable, str(HERE / "lib" / f"peer_{side}.py"), str(folder), *more]
    log = folder / f"{side}.log"
    start = time.perf_counter()
    with log.open("wb") as out:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        child = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    peak, stop = [0], threading.Event()
    watch = threading.Thread(target=_watch, args=(psutil.Process(child.pid), peak, stop))
    watch.start()
    try:
        child.wait()
    finally:
        stop.set()
        watch.join()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
    seconds = time.perf_counter() - start
    told = folder / f"{side}.json"
    if child.returncode or not told.is_file():
        said = log.read_text(errors="replace")[-2000:]
        raise WbragError(f"expected {side} to finish, found exit code {child.returncode}: {said}")
    return Side(**json.loads(told.read_text(encoding="utf-8")), process_s=seconds, peak=peak[0])


def _watch(process: psutil.Process, peak: list[int], stop: threading.Event) -> None:
    while not stop.wait(LOOK_S):
        with suppress(psutil.NoSuchProcess):
            peak[0] = max(peak[0], sum(_sizes([process, *process.children(recursive=True)])))


def _sizes(family: Sequence[psutil.Process]) -> Iterator[int]:
    """Resident bytes; memory that processes share counts once for each."""
    for process in family:
        with suppress(psutil.NoSuchProcess):
            yield process.memory_info().rss


def _told(ours: Side, theirs: Side) -> list[Figure]:
    figures = [
        Figure(
            "faster than FlashRAG, raw files to score, starts included",
            theirs.process_s / ours.process_s,
            short="Naive-RAG evaluation over FlashRAG, starts included",
        ),
        Figure(
            "the same without the starts",
            theirs.work_s / ours.work_s,
            short="The same without the starts",
        ),
        Figure("questions with the same 5 passages", _same(ours.hits, theirs.hits), "%"),
        Figure(
            "questions with the same answer",
            _same(ours.answers, {id: read_answer(text) for id, text in theirs.answers.items()}),
            "%",
        ),
    ]
    for name, side in (("wbrag", ours), ("FlashRAG", theirs)):
        figures.append(Figure(f"{name}: whole process", side.process_s, "s", better="lower"))
        figures += [Figure(f"{name}: {stage}", s, "s", better="lower") for stage, s in side.stages.items()]
        figures.append(Figure(f"{name}: generator calls", side.calls, "", better="lower"))
        figures.append(Figure(f"{name}: peak memory of all its processes", side.peak / 2**30, "GiB", better="lower"))
        figures += [Figure(f"{name}: {metric}", score * 100, "%") for metric, score in side.score.items()]
    return figures


def _same(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Of the same keys, the share in % with equal values."""
    return 100 * sum(one[id] == other[id] for id in one) / len(one)


if __name__ == "__main__":
    main()

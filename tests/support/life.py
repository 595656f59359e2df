"""The steps of a workspace's life, each a function of its folder, for processes that die (tests.support.mortal)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import cycle
from pathlib import Path
from typing import Any

# All of it before the first fork: a job must not spend its time on imports.
import deltalake
import faiss
import openai
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import ray

import wbrag.data.demo
import wbrag.enrich.summary
import wbrag.executor.ray.row_pass
import wbrag.units.checks.nli
import wbrag.units.examine
import wbrag.units.freshness
import wbrag.units.learn
import wbrag.units.push
import wbrag.units.refresh
from tests.support.hostless import open_life
from tests.support.portrait import portrait, shown
from tests.support.toy import write_toy
from wbrag.cli.main import main as command_line
from wbrag.units.usage import Feedback, Served

# Imported before the fork: a child that a fault kills forgets them, and would load each again.
PRELOADED = (deltalake, faiss, openai, pyarrow.dataset, wbrag)
ITEMS = [f"{a}{b}" for a in ("amber", "birch", "cedar", "delta", "ember") for b in ("lamp", "gate", "mill", "boat")]
URL = "URL"  # of the scripted endpoint, to be filled in
Step = tuple[str, dict[str, Any]]
RELEASING: dict[str, Step] = {  # from the shelf to releases and back, by the functions below
    "first units": ("shelve", {"first": 0, "last": 8}),
    "first release": ("publish", {"policy": "auto"}),
    "more units": ("shelve", {"first": 6, "last": 14}),
    "checks": ("check", {}),
    "approvals": ("approve", {}),
    "second release": ("publish", {}),
    "rollback": ("rollback", {"release": "r0001"}),
    "retirement": ("retire_and_publish", {"first": 0, "last": 2}),
    "other sources": ("change_sources", {"first": 2, "last": 4, "version": "z"}),
    "index": ("index", {}),
    "stale units": ("publish", {}),
    "refresh": ("refresh", {"url": URL}),
    "one shard again": ("publish", {"policy": "auto"}),
    "compaction": ("compact", {}),
}


def make(folder: str) -> None:
    """Corpus, examples and base index."""
    w, data = open_life(folder), Path(folder)
    data.mkdir(parents=True, exist_ok=True)
    write_toy(data, ITEMS)
    w.ingest_corpus(data / "corpus.jsonl")
    w.ingest_examples(data / "train.jsonl", "toy", "train")
    w.index()


def change_sources(folder: str, first: int, last: int, version: str) -> None:
    """The passages of these items say another code from now on."""
    [file] = (Path(folder) / "corpus").glob("*.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    for row in rows:
        number = int(row["id"][1:])
        if first <= number < last:
            row["text"] = f"The code of {ITEMS[number]} is {version}{number}."
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)


def index(folder: str) -> None:
    open_life(folder).index()


def shelve(folder: str, first: int, last: int) -> None:
    """Units of these items, as enrichment's accepted rows give them."""
    w = open_life(folder)
    passages = w.passages([f"p{i}" for i in range(first, last)])
    w.shelve([_row(passages[f"p{i}"], ITEMS[i], i) for i in range(first, last)], "f")


def _row(passage: Any, item: str, number: int) -> dict[str, Any]:
    sentence = next(part.strip() for part in re.findall(r"[^.]+\.", passage.text) if item in part)
    return {
        "id": f"q{number:02d}",
        "unit_title": item,
        "unit_text": sentence,
        "sources": [{"id": passage.id, "content_hash": passage.content_hash}],
        "evidence": [{"passage_id": passage.id, "sentence": sentence}],
        "s_nr": 0.0,
        "s_rag": 1.0,
        "s_unit": 1.0,
        "s_kept": 1.0,
        "answer_in_unit": 1.0,
        "answer_in_sources": 1.0,
    }


def enrich(folder: str, url: str, limit: int | None = None) -> Any:
    return open_life(folder, url).enrich("toy/train", limit=limit)["verdicts_sha256"]


def check(folder: str) -> None:
    open_life(folder).check()


def approve(folder: str) -> None:
    open_life(folder).approve_what_passed()


def publish(folder: str, policy: str = "manual", **sections: Any) -> None:
    open_life(folder, **sections).publish(policy=policy)


def retire(folder: str, first: int, last: int) -> None:
    """A person takes the units of these items back."""
    w = open_life(folder)
    ids = [s.unit.id for s in w.shelf.read() if s.unit.title in ITEMS[first:last]]
    w.decide([id for id in ids if w.decisions.states()[id] in ("approved", "retired")], "retired", by="ana", why="old")


def retire_and_publish(folder: str, first: int, last: int) -> None:
    retire(folder, first, last)
    publish(folder)


def rollback(folder: str, release: str) -> None:
    open_life(folder).rollback(release, by="ana", why="wrong codes")


def refresh(folder: str, url: str, **sections: Any) -> None:
    open_life(folder, url, **sections).refresh()


def use(folder: str, first: int, last: int) -> None:
    """Served answers and a word on each, a commit each."""
    w = open_life(folder)
    for i in range(first, last):
        served = Served(f"a{i}", f"2026-01-01T00:00:{i:02d}", "", "r0001", "naive", "qa", "?", "!", (), (), (), 0.1)
        w.usage.add([served], [Feedback(f"a{i}", served.at, "", 1)])


def compact(folder: str) -> None:
    """What `wbrag review` does to the tables of use."""
    open_life(folder).review()


def under(folder: str, days: Sequence[float], verb: str, arguments: dict[str, Any]) -> None:
    """Do `verb` while wbrag's clock is each of `days` fast in turn, from one look to the next."""
    fast = cycle(days)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=next(fast))

    real = time.time
    time.time = lambda: real() + 86400 * next(fast)
    for module in [m for name, m in sys.modules.items() if name.startswith("wbrag.")]:
        if getattr(module, "datetime", None) is datetime:
            module.datetime = Jumping  # type: ignore[attr-defined]
    globals()[verb](folder=folder, **arguments)


def command(folder: str, line: Sequence[str]) -> dict[str, Any]:
    """The command line in this process: its exit code, what it said on standard error, and whether Ray was started."""
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            code = command_line([*line, "--workspace", folder, "--json"])
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
        said.seek(0)
        return {"code": code, "said": said.read().decode(), "ray": ray.is_initialized()}


def on_a_full_disk(folder: str, source: str, spare: int, line: Sequence[str]) -> dict[str, Any]:
    """`command` over a copy of `source` on a RAM disk with `spare` pages left, then with room, and what was there."""
    Path(folder).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    try:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        disk = os.statvfs(folder)
        taken = (disk.f_blocks - disk.f_bfree + spare) * disk.f_frsize
        subprocess.run(["mount", "-o", f"remount,size={taken}", folder], check=True)
        first = command(folder, line)
        after = shown(folder)
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        second = command(folder, line)
        return {"first": first, "after": after, "second": second, "in the end": shown(folder)}
    finally:
        subprocess.run(["umount", folder], check=True)


def again(folder: str, verb: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The portrait as a crash left it, and once the step was done again."""
    found = [portrait(folder)]
    globals()[verb](folder=folder, **arguments)
    return [*found, shown(folder)]

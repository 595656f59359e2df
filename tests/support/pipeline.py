"""The small corpus, the model that reads it, and the command line over them, for tests of the whole pipeline."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.support.openai_server import Body, OpenAIServer, Step, hang, ok
from wbrag.core.config import Config, load

ROOT = Path(__file__).resolve().parents[2]
FACT = re.compile(r"The code of (\w+) is (\w+)\.")
ASKED = re.compile(r"code of (\w+)\?")
ITEMS = [
    f"{first}{last}"
    for first in ("amber", "birch", "cedar", "delta", "ember", "fjord")
    for last in ("lamp", "gate", "mill", "boat")
]


def reader(messages: list[dict[str, str]]) -> str:
    """What a careful model would say: it knows nothing by heart, and copies from what it is given."""
    text = "\n".join(m["content"] for m in messages)
    asked = ASKED.findall(text)
    if not asked:  # the small question by which an endpoint is checked
        return "ok"
    item = asked[-1]
    found = dict(FACT.findall(text)).get(item)
    if "Select up to" in text:
        number = next(
            (n for n, line in re.findall(r"Doc (\d+)\(Title[^)]*\)(.*)", text) if f"code of {item} is" in line), "1"
        )
        return f"[Doc {number}] The code of {item} is {found}." if found else "none"
    if "title line" in text:
        return f"{item}\nThe code of {item} is {found}."
    return found or "unknown"


class Stalling(OpenAIServer):
    """Answers what is asked about the first half of the items; for the others it hangs until `stalls` is False."""

    stalls = True

    def step(self, number: int, body: Body) -> Step:
        asked = set(ASKED.findall(body["messages"][-1]["content"]))
        return hang() if self.stalls and asked & set(ITEMS[len(ITEMS) // 2 :]) else ok()


def settings(server: OpenAIServer) -> dict[str, object]:
    return {
        "generator": {"backend": "openai", "base_url": server.url, "model": "tiny", "max_retries": 0},
        "ray": {"block_rows": 4, "spread_above": 0},
        "index": {"block_rows": 8},
    }


def config(server: OpenAIServer, **more: object) -> Config:
    return load(**{**settings(server), **more})


def wbrag(*arguments: str, server: OpenAIServer | None = None) -> subprocess.Popen[str]:
    """The command line in a child process of its own session, so that it can be killed with all that it started."""
    flags = []
    if server is not None:
        flags = [
            "--generator.backend=openai",
            f"--generator.base_url={server.url}",
            "--generator.model=tiny",
            "--generator.max_retries=0",
            "--ray.block_rows=4",
            "--ray.spread_above=0",
            "--index.block_rows=8",
        ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "wbrag.cli", *flags, *arguments],  # the later of two flags counts
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        cwd=ROOT,
    )


def finished(folder: Path) -> set[str]:
    """The ids of the rows in all Parquet files below `folder`."""
    return {
        id
        for file in folder.rglob("*.parquet")
        if not file.name.startswith(".")
        for id in pq.read_table(file)["id"].to_pylist()
    }

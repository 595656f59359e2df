"""A workspace's whole life with a SIGKILL again and again, at moments that a seed draws: nothing lost, nothing doubled.

WBRAG_FAULT_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.life import URL, Step
from tests.support.mortal import Kill, Mortals, Write
from tests.support.openai_server import OpenAIServer
from tests.support.outcome import assert_same, rows_of
from tests.support.pipeline import ITEMS, wbrag
from tests.support.processes import kill_when

pytestmark = [pytest.mark.integration, pytest.mark.drill]
SEED = int(os.environ.get("WBRAG_FAULT_SEED", random.randrange(10**6)))
KILLS = 4  # of each step
LIFE: list[Step] = [
    ("enrich", {"url": URL, "limit": 6}),
    ("publish", {"policy": "auto"}),
    ("enrich", {"url": URL, "limit": 12}),
    ("approve", {}),
    ("publish", {}),
    ("rollback", {"release": "r0001"}),
    ("retire_and_publish", {"first": 0, "last": 4}),
    ("enrich", {"url": URL}),
    ("publish", {"policy": "auto"}),
    ("change_sources", {"first": 8, "last": 11, "version": "z"}),
    ("index", {}),
    ("refresh", {"url": URL}),
    ("publish", {"policy": "auto"}),
    ("compact", {}),
]
EDITS = {"change_sources"}  # somebody else's work, which is not killed


def drawn(draw: random.Random, writes: list[Write], seconds: float) -> Kill:
    """Beside or inside a random write, or at a random moment."""
    if not writes or draw.random() < 0.3:
        return Kill(after_s=draw.uniform(0.01, seconds))
    n = draw.randrange(len(writes))
    return Kill(n, draw.choice(writes[n].sides))


def test_a_life_with_fifty_kills_ends_as_an_unbroken_one(endpoint: OpenAIServer, tmp_path: Path) -> None:
    print(f"WBRAG_FAULT_SEED={SEED}")
    draw = random.Random(SEED)
    unbroken, broken = str(tmp_path / "unbroken"), str(tmp_path / "broken")
    kills: list[str] = []
    with Mortals("tests.support.life") as mortals:
        mortals.run("make", folder=unbroken)
        mortals.run("use", folder=unbroken, first=0, last=3)
        shutil.copytree(unbroken, broken)
        releases: list[Any] = []
        for number, (step, arguments) in enumerate(LIFE):
            arguments = {name: endpoint.url if value == URL else value for name, value in arguments.items()}
            began = time.monotonic()
            writes = mortals.run(step, folder=unbroken, **arguments).writes
            seconds = time.monotonic() - began
            wanted = len(kills) + (0 if step in EDITS else KILLS)
            while len(kills) < wanted:
                kill = drawn(draw, writes, seconds)
                if mortals.run(step, kill, folder=broken, **arguments).killed:
                    kills.append(f"{number} {step} {kill}")
                    found = mortals.run("portrait", folder=broken).value["releases"]  # it loads, and answers
                    assert found[: len(releases)] == releases and len(found) <= len(releases) + 1, kills
                else:  # done before it died: from here on it dies while it finds that out
                    seconds /= 2
                    writes = []
            mortals.run(step, folder=broken, **arguments)
            expected, mended = (mortals.run("portrait", folder=folder).value for folder in (unbroken, broken))
            assert mended == expected, kills
            releases = expected["releases"]
    print(f"{len(kills)} kills")
    assert len(kills) >= 50 and len(releases) == 6, kills


def test_enrichment_on_ray_with_drivers_and_workers_killed(copy: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    print(f"WBRAG_FAULT_SEED={SEED}")
    draw = random.Random(SEED)
    unbroken = Path(shutil.copytree(copy, tmp_path / "unbroken"))
    expected = finished(enriching(unbroken, endpoint))
    assert expected["examples"] == len(ITEMS)
    for kill in (kill_the_driver, kill_the_driver, kill_a_worker):
        kill(enriching(copy, endpoint), endpoint, len(endpoint.requests) + draw.randrange(1, 30), draw)
        with suppress(FileNotFoundError):
            rows_of(copy / "verdicts")
    found = finished(enriching(copy, endpoint))
    assert (found["verdicts_sha256"], found["quarantined"]) == (expected["verdicts_sha256"], 0)
    assert found["units_new"] + found["units_merged"] <= expected["units_new"] + expected["units_merged"]
    assert_same(copy / "verdicts", unbroken / "verdicts")


def enriching(folder: Path, server: OpenAIServer) -> subprocess.Popen[str]:
    arguments = ["--examples", "toy/train", "--workspace", str(folder), "--json", "--generator.concurrency=2"]
    return wbrag("enrich", *arguments, server=server)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return dict[str, Any](json.loads(out))


def kill_the_driver(driver: subprocess.Popen[str], server: OpenAIServer, asked: int, draw: random.Random) -> None:
    """SIGKILL to it and all that it started, once the endpoint was asked so often."""
    kill_when(driver, lambda: len(server.requests) >= asked)


def kill_a_worker(driver: subprocess.Popen[str], server: OpenAIServer, asked: int, draw: random.Random) -> None:
    """SIGKILL to one of Ray's workers once the endpoint was asked so often; the driver goes on, or says why not."""
    while len(server.requests) < asked:
        assert driver.poll() is None, "the run ended before a worker could be killed"
        time.sleep(0.02)
    workers = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, IndexError):
            if process.cmdline()[0].startswith("ray::"):
                workers.append(process)
    with suppress(psutil.NoSuchProcess):
        draw.choice(sorted(workers, key=lambda process: process.pid)).kill()
    _, err = driver.communicate(timeout=240)
    assert driver.returncode in (0, 1) and "Traceback" not in err, err

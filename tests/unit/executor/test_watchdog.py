"""A driver whose cluster's head is gone ends with one sentence; one that has left the cluster goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DRIVER = """
import socket, time, ray
from wbrag.executor.ray import watchdog
watchdog.GONE_S, watchdog.EVERY_S = 0.5, 0.1
ray.is_initialized = lambda: True
listening = socket.create_server(("127.0.0.1", 0))
over = watchdog.watch_head(f"127.0.0.1:{listening.getsockname()[1]}")
time.sleep(1.5)
print("alive", flush=True)
if LEFT:
    over.set()
listening.close()
time.sleep(1.5 if LEFT else 60)  # far longer than the watchdog takes
print("still alive", flush=True)
"""


def driver(*, left: bool) -> subprocess.CompletedProcess[str]:
    code = DRIVER.replace("LEFT", str(left))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, cwd=ROOT)


def test_a_lost_head_ends_the_driver_with_one_sentence() -> None:
    ended = driver(left=False)
    assert (ended.returncode, ended.stdout.split()) == (1, ["alive"])
    [said] = ended.stderr.splitlines()
    assert said.startswith("wbrag: expected the head of the Ray cluster at 127.0.0.1:") and said.endswith(
        "run it again"
    )


def test_a_driver_that_left_the_cluster_goes_on() -> None:
    ended = driver(left=True)
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, ["alive", "still", "alive"], "")

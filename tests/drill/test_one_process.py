"""The endpoint in one process: its engine killed, then the process itself, under load; every request ends."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.library import facts
from tests.support.pipeline import ITEMS, wbrag
from tests.support.processes import free_port
from wbrag.core.config import load
from wbrag.units.layout import Layout

pytestmark = [pytest.mark.integration, pytest.mark.drill]
CLIENTS, REQUEST_S = 6, 60.0


@dataclass
class Endpoint:
    process: subprocess.Popen[str]
    url: str

    def processes(self, name: str) -> list[psutil.Process]:
        """Those below it whose command line begins with `name`."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if (process.cmdline() or [""])[0].startswith(name):
                    found.append(process)
        return found

    def ask(self, client: httpx.Client, item: str) -> tuple[int, str]:
        body = {
            "model": "wbrag",
            "messages": [{"role": "user", "content": f"What is the code of {item}?"}],
            "stream": False,
        }
        reply = client.post(self.url + "/v1/chat/completions", json=body, timeout=REQUEST_S + 10)
        if reply.status_code != 200:
            return reply.status_code, reply.text
        return 200, str(reply.json()["choices"][0]["message"]["content"])

    def ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(self.url + "/readyz", timeout=5).status_code == 200
        return False


def soon(true: Callable[[], object], what: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    store = Layout(tmp_path_factory.mktemp("one"), load(index={"block_rows": 8}))
    facts(store)
    port = free_port()
    flags = [f"--serving.port={port}", f"--serving.timeout_s={REQUEST_S}", "--serving.one_process=true"]
    process = wbrag("serve", "--workspace", str(store.path), *flags)
    found = Endpoint(process, f"http://127.0.0.1:{port}")
    try:
        soon(lambda: process.poll() is not None or found.ready(), "a start", 300)
        assert process.poll() is None, process.communicate()
        yield found
    finally:
        with suppress(psutil.NoSuchProcess):
            for member in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait(180)


def crowd(endpoint: Endpoint, meanwhile: Callable[[], None]) -> Counter[int]:
    """Statuses of what clients asked one after another while `meanwhile` ran; answers are those of a quiet day."""
    over, statuses, wrong = threading.Event(), Counter[int](), list[str]()
    with httpx.Client() as client:
        usual = {item: endpoint.ask(client, item) for item in ITEMS}
    assert {status for status, _ in usual.values()} == {200}

    def one(number: int) -> None:
        with httpx.Client() as client:
            while not over.is_set():
                item = ITEMS[number % len(ITEMS)]
                try:
                    status, said = endpoint.ask(client, item)
                except httpx.TransportError:
                    status, said = 0, ""  # the process that had it is gone
                statuses[status] += 1
                if status != 200:
                    over.wait(0.5)  # as a client does: six that ask at once again leave no core to start anything
                if status == 200 and said != usual[item][1]:
                    wrong.append(f"{item}: {said} for {usual[item][1]}")
                number += 1

    threads = [threading.Thread(target=one, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
    finally:
        over.set()
        for thread in threads:
            thread.join(REQUEST_S + 30)
    assert not any(thread.is_alive() for thread in threads), "a request without an end"
    assert not wrong
    return statuses


def test_a_killed_engine_costs_nobody_an_answer(endpoint: Endpoint) -> None:
    [gateway] = endpoint.processes("ray::ServeReplica:wbrag:Gateway")

    def kill() -> None:
        for _ in range(2):
            [engine] = endpoint.processes("VLLM::EngineCore")
            time.sleep(1)
            engine.kill()
            soon(
                lambda dead=engine: [p for p in endpoint.processes("VLLM::EngineCore") if p.pid != dead.pid], "another"
            )  # type: ignore[misc]
            with httpx.Client() as client:
                assert endpoint.ask(client, ITEMS[0])[0] == 200

    statuses = crowd(endpoint, kill)
    print(statuses)
    assert set(statuses) == {200}
    assert [p.pid for p in endpoint.processes("ray::ServeReplica:wbrag:Gateway")] == [gateway.pid]


def test_a_killed_process_comes_back_and_its_engine_is_gone(endpoint: Endpoint) -> None:
    [gateway], [engine] = endpoint.processes("ray::ServeReplica:wbrag:Gateway"), endpoint.processes("VLLM::EngineCore")

    def kill() -> None:
        time.sleep(1)
        gateway.kill()
        soon(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, "an engine without a host", 20)
        soon(lambda: endpoint.processes("VLLM::EngineCore"), "another engine")
        soon(endpoint.ready, "another start")
        time.sleep(1)

    statuses = crowd(endpoint, kill)
    print(statuses)
    assert statuses[200] and all(status in (0, 200) or status >= 500 for status in statuses)


def test_sigterm_finishes_what_was_begun(endpoint: Endpoint) -> None:
    found: list[int] = []

    def one() -> None:
        with httpx.Client() as client:
            found.append(endpoint.ask(client, ITEMS[1])[0])

    asking = threading.Thread(target=one)
    asking.start()
    time.sleep(0.05)
    endpoint.process.send_signal(signal.SIGTERM)
    out, err = endpoint.process.communicate(timeout=180)
    asking.join()
    assert endpoint.process.returncode == 0 and "everything begun was finished" in out and "Traceback" not in err, err
    assert found == [200] or found == [503]
    assert not Path(f"/proc/{endpoint.process.pid}").exists()

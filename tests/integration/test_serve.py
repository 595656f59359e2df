"""`wbrag serve` as a process of its own: releases that change, replicas that die, crowds, clients that leave.

The model is a scripted endpoint, so that its answers take as long as a test wants; the last test starts the real one.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import pytest

from tests.support.hung_up import Endpoint
from tests.support.library import contents, index, proposed, published, shelve
from tests.support.otlp import Collector, collector
from tests.support.pipeline import ITEMS, reader, settings, wbrag
from tests.support.processes import free_port
from tests.support.retrievers import retrievers
from tests.support.ways import CHAT, WAYS, body, question
from wbrag.core.config import load
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Encoder
from wbrag.serving.release_cache import ReleaseCache
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

pytestmark = pytest.mark.integration
CONCURRENCY, QUEUE = 4, 4


@dataclass
class Served:
    """A running endpoint, its workspace, and the model behind it."""

    process: subprocess.Popen[str]
    url: str
    store: Layout
    encoder: Encoder
    model: Endpoint
    traces: Collector
    answers: list[tuple[float, int]] = field(default_factory=list)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10)

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return float(next(line.split()[-1] for line in lines if re.match(rf"{name}[{{ ]", line)))

    def answers_from(self, number: int) -> None:
        """Wait until the release of that number is in use."""
        wait_for(lambda: self.metric("wbrag_release_number") == number, f"release {number}")

    def replicas(self, name: str) -> list[int]:
        """Process ids of a deployment's replicas."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [p.pid for p in family if f"ServeReplica:wbrag:{name}" in " ".join(_command(p))]


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.HTTPError, StopIteration):
            if condition():
                return
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def units(items: Sequence[str]) -> list[Unit]:
    return [Unit(item, f"The code of {item} is u{item}.", (item,), (("p0", "h"),), ()) for item in items]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Endpoint(reply=reader) as model, collector() as traces:
        store = Layout(tmp_path_factory.mktemp("served"), load(**settings(model)))
        encoder = Encoder(store.config.encoder)
        rows = [
            {"id": f"p{i}", "title": f"Note {i}", "text": f"The code of {item} is k{i}."}
            for i, item in enumerate(ITEMS)
        ]
        index(store, rows, encoder.encode_passages([contents(row) for row in rows]))
        shelve(store, encoder, units(ITEMS[:4]))
        published(store)
        port = free_port()
        flags = {
            "port": port,
            "concurrency": CONCURRENCY,
            "queue": QUEUE,
            "poll_s": 0.3,
            "drain_s": 60,
            "timeout_s": 60,
            "gateways": "[1,1]",  # one of each, so that a test knows whom it kills and whose metrics it reads
            "retrievers": "[1,1]",
            "cache_dir": tmp_path_factory.mktemp("cache"),
        }
        process = wbrag(
            "serve",
            "--workspace",
            str(store.path),
            *(f"--serving.{name}={value}" for name, value in flags.items()),
            f"--tracing.endpoint={traces.url}",
            "--tracing.sample=1",
            server=model,
        )
        served = Served(process, f"http://127.0.0.1:{port}", store, encoder, model, traces)
        try:
            wait_for(lambda: process.poll() is not None or served.get("/readyz").status_code == 200, "a start", 600)
            assert process.poll() is None, process.communicate()
            yield served
        finally:
            if process.poll() is None:
                family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
                for member in family:
                    with suppress(psutil.NoSuchProcess):
                        member.kill()
            process.wait(180)


Asked = tuple[int, httpx.Headers, dict[str, Any], float]


async def ask(client: httpx.AsyncClient, item: str, way: str = "chat") -> Asked:
    """Status, headers, what was told (`text`, `release`, `ids`) and seconds; every request must get an answer."""
    start = time.perf_counter()
    path, asked, told = WAYS[way]
    response = await client.post(path, json=asked(item), headers={"accept": "application/json, text/event-stream"})
    found = told(response.text) if response.status_code == 200 else {}
    return found.pop("status", response.status_code), response.headers, found, time.perf_counter() - start


async def crowd(served: Served, clients: int, until: Callable[[], bool]) -> list[Asked]:
    """`clients` that ask one question after another, each in a way of its own."""
    found = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=served.url, timeout=120, limits=limits) as client:

        async def one(number: int) -> None:
            way = [*WAYS][number % len(WAYS)]
            while not until():
                found.append(await ask(client, ITEMS[(number + len(found)) % 8], way))

        await asyncio.gather(*(one(number) for number in range(clients)))
    return found


def expected(served: Served, releases: Sequence[Release]) -> dict[tuple[str, str], list[str]]:
    """The ids that each release gives for each question, worked out in this process."""
    library = ReleaseCache(served.store, served.encoder)

    async def all_of() -> dict[tuple[str, str], list[str]]:
        found = {}
        for release in releases:
            lists = await library.search([question(item) for item in ITEMS[:8]], 5, release)
            found |= {(release.id, item): [hit.id for hit in hits] for item, hits in zip(ITEMS, lists)}
        return found

    return asyncio.run(all_of())


def test_a_request_is_traced_through_its_replicas(served: Served) -> None:
    assert httpx.post(f"{served.url}{CHAT}", json=body(ITEMS[0]), timeout=60).status_code == 200
    wait_for(lambda: {"search", "POST /v1/chat/completions"} <= {s["name"] for s in served.traces.spans}, "spans", 60)
    asked = served.traces.named("POST /v1/chat/completions")
    own = {span["name"]: span for span in served.traces.spans if span["trace"] == asked["trace"]}
    assert own["search"]["parent"] == own["retrieval"]["id"] and own["retrieval"]["parent"] == own["answer"]["id"]
    parts = {own[name]["of"]["service.instance.part"] for name in ("search", "answer")}
    assert parts == {"retriever", "gateway"}, "spans of two processes, in one trace"


@pytest.mark.slow
def test_swap_and_rollback_under_load_lose_nothing(served: Served, tmp_path: Path) -> None:
    """Of units and of retrievers: releases come with none, with an adapter, and with a reranker too."""
    store, done, ways = served.store, False, retrievers(served.store, served.encoder, tmp_path, ITEMS)
    found: list[Asked] = []

    async def scenario() -> None:
        nonlocal done, found
        load_run = asyncio.create_task(crowd(served, 6, lambda: done))
        for step in range(6):
            await asyncio.to_thread(served.answers_from, step + 1)
            if step % 2:
                await asyncio.to_thread(store.releases.rollback, "r0001")
            else:
                await asyncio.to_thread(shelve, store, served.encoder, units(ITEMS[4 + step : 6 + step]))
                await asyncio.to_thread(published, store, ways[step // 2])
        await asyncio.to_thread(served.answers_from, 7)
        await asyncio.sleep(0.5)
        done = True
        found = await load_run

    asyncio.run(scenario())
    assert Counter(status for status, *_ in found) == {200: len(found)}
    right = expected(served, store.releases.all())
    seen = Counter()
    for _, _, told, _ in found:
        seen[told["release"]] += 1
        asked = next(item for item in ITEMS if told["ids"] == right.get((told["release"], item)))
        assert told["text"] in (f"u{asked}", f"k{ITEMS.index(asked)}")
    assert {"r0001", "r0004", "r0006", "r0007"} <= set(seen), seen
    assert [store.releases.get(f"r000{n}").retriever != "" for n in range(1, 8)] == [False] * 3 + [True, False] * 2
    assert len({tuple(right[name, ITEMS[4]]) for name in ("r0001", "r0002")}) == 2, "the releases differ"


def test_a_damaged_release_is_refused(served: Served) -> None:
    store, before = served.store, served.metric("wbrag_release_number")
    shelve(store, served.encoder, units(ITEMS[20:22]))
    bad = proposed(store)
    old = {folder.name for folder in (store.path / "index").glob("units-*/")}
    newest = max((store.path / "index").glob("units-*/vectors.faiss"), key=lambda file: file.stat().st_mtime_ns)
    assert newest.parent.name in old
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    store.releases.append(bad)
    wait_for(lambda: served.metric("wbrag_releases_refused") == 1, "the refusal")
    assert served.get("/readyz").status_code == 200
    assert served.metric("wbrag_release_number") == before
    reply = httpx.post(served.url + CHAT, json=body(ITEMS[0]), timeout=60)
    assert (reply.status_code, reply.json()["wbrag"]["release"]) == (200, f"r{int(before):04d}")
    newest.write_bytes(whole)  # mended, and published again
    store.releases.rollback(bad.id)
    wait_for(lambda: served.metric("wbrag_release_number") == before + 2, "the mended release")
    assert served.metric("wbrag_releases_refused") == 0


@pytest.mark.slow
def test_ten_times_the_load_gives_answers_and_429s_alone(served: Served) -> None:
    served.model.delay_s = 0.1

    async def quiet() -> float:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            return median([(await ask(client, ITEMS[n]))[3] for n in range(8)])

    async def well_again(seconds: float) -> bool:
        """Whether an answer takes no more than `seconds` again, at the latest after a minute."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if await quiet() <= seconds:
                return True
        return False

    async def scenario() -> None:
        before, end = await quiet(), time.monotonic() + 6
        found = await crowd(served, 10 * (CONCURRENCY + QUEUE), lambda: time.monotonic() > end)
        statuses = Counter(status for status, *_ in found)
        assert set(statuses) == {200, 429}, statuses
        refused = [(headers, told) for status, headers, told, _ in found if status == 429]
        assert all(told.get("inside") or int(headers["retry-after"]) >= 1 for headers, told in refused)
        assert await well_again(2 * before + 0.2), before

    try:
        asyncio.run(scenario())
    finally:
        served.model.delay_s = 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Retriever", "Gateway"])
def test_a_killed_replica_loses_nothing_without_a_word(served: Served, name: str) -> None:
    served.model.delay_s = 0.05
    [victim] = served.replicas(name)
    done = False

    async def scenario() -> list[Asked]:
        nonlocal done
        load_run = asyncio.create_task(crowd(served, 4, lambda: done))
        await asyncio.sleep(1)
        os.kill(victim, signal.SIGKILL)
        await asyncio.to_thread(wait_for, lambda: victim not in (now := served.replicas(name)) and now, "a new replica")
        await asyncio.to_thread(
            wait_for,
            lambda: httpx.post(served.url + CHAT, json=body(ITEMS[0]), timeout=60).status_code == 200,
            "an answer",
        )
        done = True
        return await load_run

    found = asyncio.run(scenario())  # a request without an answer raises here
    statuses = Counter(status for status, *_ in found)
    assert statuses[200] and all(status == 200 or status >= 500 for status in statuses), statuses
    if name == "Retriever":  # a search is asked for again, and waits for the new replica as long as its request may
        assert set(statuses) <= {200, 504}, statuses
    served.model.delay_s = 0.0


def test_a_client_that_leaves_stops_the_generation(served: Served) -> None:
    served.model.delay_s, before = 30, served.model.gone
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(served.url + CHAT, json=body(ITEMS[0]), timeout=1)
    wait_for(lambda: served.model.gone == before + 1, "the model's client to leave")
    for number, (path, asked, _) in enumerate(WAYS.values(), before + 2):
        with httpx.Client(base_url=served.url, timeout=1) as client, pytest.raises(httpx.ReadTimeout):
            accepted = {"accept": "application/json, text/event-stream"}
            client.post(path, json=asked(ITEMS[0]), headers=accepted)
        wait_for(lambda wanted=number: served.model.gone == wanted, f"the model's client to leave after {path}")  # type: ignore[misc]
    served.model.delay_s = 0.0
    wait_for(lambda: served.metric("wbrag_in_flight") == 0, "an empty gateway")


def test_sigterm_finishes_what_was_begun(served: Served) -> None:
    served.model.held, asked = True, len(served.model.requests)

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            begun = [asyncio.create_task(ask(client, item)) for item in ITEMS[:4]]
            while len(served.model.requests) < asked + 4:
                await asyncio.sleep(0.02)
            served.process.send_signal(signal.SIGTERM)
            while (await client.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.02)
            status, headers, _, _ = await ask(client, ITEMS[0])
            assert status == 503 and headers["retry-after"]
            served.model.held = False
            assert [status for status, *_ in await asyncio.gather(*begun)] == [200] * 4

    asyncio.run(scenario())
    out, err = served.process.communicate(timeout=180)
    assert served.process.returncode == 0, err
    assert "everything begun was finished" in out
    assert "Traceback" not in err, err
    assert f"{served.url}/desk" in err


def test_a_port_in_use_is_said_in_one_sentence(served: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = wbrag("serve", "--workspace", str(served.store.path), f"--serving.port={port}", server=served.model)
        _, err = process.communicate(timeout=180)
    assert process.returncode == 1
    assert err.strip() == (
        f"wbrag: expected to listen on 127.0.0.1:{port}, found Address already in use: "
        "stop what runs there or choose another --serving.port"
    )

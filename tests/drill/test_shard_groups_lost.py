"""A base in two parts on two nodes, one of which is killed under load: every reply has all its hits, or is an error."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import ray
from ray import serve

from tests.support.library import facts
from tests.support.nodes import Nodes, wait_until
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, config
from wbrag.serving.ray.app import application
from wbrag.units.layout import Layout

pytestmark = [pytest.mark.integration, pytest.mark.drill]
GROUPS = ["ServeReplica:wbrag:Shards-0", "ServeReplica:wbrag:Shards-1"]
REQUEST_S, K = 20.0, 6
Hits = list[tuple[str, float]]


def pids(kind: str) -> list[int]:
    """The processes of the live actors of this kind, on all nodes."""
    actors = ray._private.state.actors().values()
    return [actor["Pid"] for actor in actors if actor["State"] == "ALIVE" and actor["ActorClassName"] == kind]


def lose(kind: str) -> None:
    """Kill the one replica of a part, and wait for the next."""
    [victim] = pids(kind)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in (now := pids(kind)) and now, "the part in a new process")


class Endpoint:
    def __init__(self, url: str, nodes: Nodes) -> None:
        self.url, self.nodes = url, nodes

    def search(self, client: httpx.Client, item: str) -> tuple[int, Hits]:
        asked = {"query": f"What is the code of {item}?", "k": K}
        reply = client.post(self.url + "/v1/search", json=asked, timeout=REQUEST_S + 10)
        hits = reply.json()["hits"] if reply.status_code == 200 else []
        return reply.status_code, [(hit["id"], round(hit["score"], 4)) for hit in hits]


@pytest.fixture(scope="module")
def served(nodes: Nodes, endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    serving = {"gateways": [1, 1], "retrievers": [1, 1], "shard_groups": 2, "timeout_s": REQUEST_S}
    store = Layout(tmp_path_factory.mktemp("served"), config(endpoint, serving=serving))
    facts(store)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init(nodes.address, namespace="serve", log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    settings = store.config.model_copy(update={"workspace": str(store.path)})
    serve.run(application(settings), name="wbrag", route_prefix="/")
    yield Endpoint(f"http://127.0.0.1:{port}", nodes)
    serve.shutdown()
    ray.shutdown()


def test_no_reply_has_fewer_hits_because_a_part_is_away(served: Endpoint) -> None:
    asked, statuses, wrong, over = ITEMS[:4], Counter[int](), list[Hits](), threading.Event()
    with httpx.Client() as client:
        expected = {}
        for item in asked:
            status, expected[item] = served.search(client, item)
            assert status == 200 and len(expected[item]) == K
    assert [len(pids(kind)) for kind in GROUPS] == [1, 1]
    assert {hits[0][0] for hits in expected.values()} >= {"p1", "p2", "p3"}, "hits of both parts"

    def one(item: str) -> None:
        with httpx.Client() as client:
            while not over.is_set():
                status, hits = served.search(client, item)
                statuses[status] += 1
                if status == 200 and hits != expected[item]:
                    wrong.append(hits)

    def answers(more: int) -> None:
        before = statuses[200]
        wait_until(lambda: statuses[200] > before + more, "answers")

    with ThreadPoolExecutor() as pool:
        crowd = [pool.submit(one, item) for item in asked]
        try:
            for kind in GROUPS:
                answers(20)
                lose(kind)
                answers(20)
        finally:
            over.set()
        for client in crowd:
            client.result(timeout=REQUEST_S + 20)  # raises where a request hung
    assert not wrong, f"expected all hits or an error, found {wrong[:3]}"
    assert all(status == 200 or status >= 500 for status in statuses), statuses

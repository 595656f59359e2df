"""The endpoint on several nodes, one of which is killed under load: every request ends, and the replicas come back."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
GATEWAYS, RETRIEVERS = "ServeReplica:wbrag:Gateway", "ServeReplica:wbrag:Retriever"
REQUEST_S = 20.0  # the gateway gives up by then, and says so


@dataclass
class Endpoint:
    url: str
    nodes: Nodes

    def ask(self, client: httpx.Client, item: str) -> int:
        body = {"model": "wbrag", "messages": [{"role": "user", "content": f"What is the code of {item}?"}]}
        reply = client.post(self.url + "/v1/chat/completions", json=body, timeout=REQUEST_S + 10)
        if reply.status_code == 200:
            assert reply.json()["choices"][0]["message"]["content"] == f"k{ITEMS.index(item)}"
        return reply.status_code

    def whole(self) -> bool:
        """Two replicas of each are up."""
        return all(len(self.nodes.where(kind)) == 2 for kind in (GATEWAYS, RETRIEVERS))


@pytest.fixture(scope="module")
def served(nodes: Nodes, endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    serving = {"gateways": [2, 2], "retrievers": [2, 2], "timeout_s": REQUEST_S}
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


def test_a_lost_node_costs_no_more_than_errors(served: Endpoint) -> None:
    nodes, statuses, over = served.nodes, Counter[int](), threading.Event()
    wait_until(served.whole, "two replicas of each")
    assert len(set(nodes.where(GATEWAYS))) == len(set(nodes.where(RETRIEVERS))) == 2, "one node holds two of a kind"

    def one(item: str) -> None:
        with httpx.Client() as client:
            while not over.is_set():
                statuses[served.ask(client, item)] += 1

    with ThreadPoolExecutor() as pool:
        crowd = [pool.submit(one, item) for item in ITEMS[:4]]
        try:
            wait_until(lambda: statuses[200] > 20, "answers")
            victim = nodes.where(RETRIEVERS)[0]
            nodes.add()
            nodes.lose(next(node for node in nodes.cluster.worker_nodes if node.node_id == victim))
            wait_until(lambda: victim not in nodes.where(RETRIEVERS) and served.whole(), "new replicas")
            before = statuses[200]
            wait_until(lambda: statuses[200] > before + 20, "answers from them")
        finally:
            over.set()
        for client in crowd:
            client.result(timeout=REQUEST_S + 20)  # raises where a request hung
    assert all(status == 200 or status >= 500 for status in statuses), statuses
    with httpx.Client() as client:
        assert [served.ask(client, item) for item in ITEMS[:8]] == [200] * 8

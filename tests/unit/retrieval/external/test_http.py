"""A store behind HTTP, over a real server that misbehaves by script."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from wbrag.core.allowed import Allowed, checked_filter
from wbrag.core.errors import CannotFilter, UsageError, WbragError
from wbrag.core.sections import RetrieverConfig
from wbrag.core.types import Hit, Passage, Unit
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.external import Collection, Held, KnowsPassages, open_store
from wbrag.retrieval.external.http import HttpStore
from wbrag.retrieval.external.text_search import TextSearchBase
from wbrag.retrieval.retriever import IndexRetriever
from wbrag.units.releases import Release
from wbrag.units.stored import StoredUnit

HIT = {"id": "a", "title": "t", "text": "x", "score": 0.5}
RELEASE = replace(Release.of_base("", "", "e"), id="r0001", number=1)


@dataclass
class Server:
    """Answers in the order of `replies`, (status, body), the last one for ever."""

    replies: list[tuple[int, Any]] = field(default_factory=lambda: [(200, {"hits": [[HIT]]})])
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, Any, Any]] = field(default_factory=list)
    drips: bool = False
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
            told.requests.append((f"{self.command} {self.path}", body, self.headers))
            status, said = told.replies.pop(0) if len(told.replies) > 1 else told.replies[0]
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            for start in range(0, len(content), 1 if told.drips else max(1, len(content))):
                try:
                    self.wfile.write(content[start : start + (1 if told.drips else len(content))])
                except OSError:  # the client has had enough
                    return
                time.sleep(0.05 if told.drips else 0)

        do_GET = do_POST

        def log_message(self, *arguments: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    told.url = f"http://127.0.0.1:{http.server_port}"
    yield told
    http.shutdown()
    http.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBRAG_RETRY_WAITS", "0")


def store(server: Server, timeout_s: float = 5.0, retries: int = 2, **options: object) -> HttpStore:
    told = {"url": f"{server.url}/search", **options}
    found = open_store(RetrieverConfig(kind="http", options=told, timeout_s=timeout_s, max_retries=retries))
    assert isinstance(found, HttpStore)
    return found


def search(found: HttpStore, *queries: str) -> list[list[Hit]]:
    return asyncio.run(found.search(queries or ["q"], 5))


def test_a_search(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = {**HIT, "id": "u", "origin": "writeback", "more": 1}
    server.replies = [(200, {"hits": [[HIT], [marked, {"id": "b", "text": "", "score": 1}]]})]
    monkeypatch.setenv("STORE_KEY", "s3cret")
    found = search(store(server, key_env="STORE_KEY"), "one", "two")
    assert found == [[Hit("a", "t", "x", 0.5)], [Hit("u", "t", "x", 0.5, "writeback"), Hit("b", "", "", 1.0)]]
    [(line, body, headers)] = server.requests
    assert (line, body) == ("POST /search", {"queries": ["one", "two"], "k": 5})
    assert headers["authorization"] == "Bearer s3cret"
    search(store(server, key_env="STORE_KEY", header="X-Api-Key"))
    assert server.requests[-1][2]["x-api-key"] == "s3cret"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"hits": [[{**HIT, "score": "0.5"}]]}, "hits.0.0.score"),
        (b'{"hits": [[{"id": "a", "text": "x", "score": NaN}]]}', "hits.0.0.score"),
        (b'{"hits": [[{"id": "a", "text": "x", "score": 1e999}]]}', "hits.0.0.score"),
        ({"hits": [[{**HIT, "id": 7}]]}, "hits.0.0.id"),
        ({"hits": [[{**HIT, "id": ""}]]}, "hits.0.0.id"),
        ({"hits": [[{"id": "a", "score": 1.0}]]}, "hits.0.0.text"),
        ({"hits": [[{**HIT, "origin": "elsewhere"}]]}, "hits.0.0.origin"),
        ({"results": []}, "found at hits: field required"),
        (b"<html>", "the reply"),
        ([], "the reply"),
    ],
)
def test_a_reply_of_another_shape_is_named(server: Server, reply: Any, said: str) -> None:
    server.replies = [(200, reply)]
    with pytest.raises(WbragError, match=said) as caught:
        search(store(server))
    assert len(server.requests) == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    good = (200, {"hits": [[HIT]]})
    server.replies = [(status, {}), (status, {}), good]
    assert search(store(server)) == [[Hit("a", "t", "x", 0.5)]]
    server.replies = [(status, b"too\nbusy")]
    with pytest.raises(WbragError, match=rf"HTTP {status} \(too busy\) in 3 tries"):
        search(store(server))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404])
def test_a_refusal_is_not_and_shows_no_key(server: Server, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_KEY", "s3cret")
    server.replies, server.headers = [(status, b"what is s3cret")], {"location": "http://elsewhere/"}
    with pytest.raises(WbragError, match=f"HTTP {status}") as caught:
        search(store(server, key_env="STORE_KEY"))
    assert len(server.requests) == 1 and "s3cret" not in str(caught.value)


def test_a_server_that_asks_to_wait_is_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("wbrag.core.retry.sleep", slept.append)
    server.replies, server.headers = [(429, {}), (200, {"hits": [[HIT]]})], {"retry-after": "7"}
    search(store(server))
    assert len(slept) == 1 and 7 <= slept[0] <= 8


def test_a_reply_that_is_too_long_or_never_ends(server: Server) -> None:
    server.replies = [(200, {"hits": [[{**HIT, "text": "x" * 2000}]]})]
    with pytest.raises(WbragError, match="at most 1000 bytes"):
        search(store(server, max_bytes=1000))
    server.drips = True
    start = time.monotonic()
    with pytest.raises(WbragError, match="no reply within 0.3 s in 2 tries"):
        search(store(server, timeout_s=0.3, retries=1))
    assert time.monotonic() - start < 60


def test_a_server_that_is_not_there(server: Server) -> None:
    away = store(server, url="http://127.0.0.1:9/search")
    with pytest.raises(WbragError, match=r"http://127.0.0.1:9/search.*Connection refused.*3 tries"):
        search(away)


def test_wrong_settings(server: Server) -> None:
    for options, said in (
        ({"url": "ftp://x/y"}, "like https://host/search"),
        ({"url": "http://me:s3cret@x/y"}, "without user and password"),
        ({"ulr": "http://x"}, "did you mean 'url'"),
        ({"key_env": "STORE_UNSET_KEY"}, "STORE_UNSET_KEY"),
        ({"max_bytes": 0}, "retriever.options.max_bytes"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            store(server, **options)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(UsageError, match="retriever.options.units_url"):
        store(server).held()


def test_passages_by_id(server: Server) -> None:
    found = store(server, passages_url=f"{server.url}/passages")
    assert isinstance(found, KnowsPassages)
    server.replies = [(200, {"passages": [{"id": "a", "title": "t", "text": "x"}, {"id": "not asked", "text": "y"}]})]
    assert found.passages(["b", "a"]) == {"a": Passage("a", "t", "x")}
    assert server.requests[0][1] == {"ids": ["a", "b"]}


def test_units_are_put_and_taken(server: Server) -> None:
    collection = store(server, units_url=f"{server.url}/units")
    assert isinstance(collection, Collection)
    server.replies = [(200, {"release": "r0000", "ids": ["wb-old"]})] * 2 + [(204, b"")]
    assert collection.held() == Held("r0000", frozenset({"wb-old"}))
    unit = Unit("t", "x", ("q",), (("p1", "h"),), ())
    collection.hold(RELEASE, [StoredUnit(unit, np.array([0.6, 0.8], dtype=np.float32))])
    line, body, _ = server.requests[-1]
    assert line == "POST /units" and (body["release"], body["encoder"], body["delete"]) == ("r0001", "e", ["wb-old"])
    [sent] = body["upsert"]
    assert sent["vector"] == pytest.approx([0.6, 0.8]) and sent["sources"] == ["p1"] and sent["id"] == unit.id


def test_who_may_see_is_told_to_a_store_that_keeps_to_it(server: Server) -> None:
    allowed = Allowed(frozenset({"legal", "hr"}), checked_filter({"year": {"gte": 2019}}))
    asyncio.run(store(server, narrows=True).search(["q"], 5, allowed))
    assert server.requests[-1][1] == {
        "queries": ["q"],
        "k": 5,
        "groups": ["hr", "legal"],
        "filter": {"year": {"gte": 2019}},
    }
    whole = {"id": "a", "text": "x", "groups": ["hr"], "metadata": {"year": 2019}}
    server.replies = [(200, {"passages": [whole]})]
    found = store(server, passages_url=f"{server.url}/passages").passages(["a"])
    assert found == {"a": Passage("a", "", "x", groups=("hr",), metadata={"year": 2019})}


@pytest.mark.parametrize("narrows", [True, False])
def test_a_search_is_narrowed_in_the_store_or_refused(server: Server, narrows: bool) -> None:
    class Encoder:
        async def queries(self, texts: Sequence[str]) -> Vectors:
            return np.ones((len(texts), 2), np.float32)

    base = TextSearchBase(store(server, narrows=narrows), rescore=False)
    retriever = IndexRetriever(Encoder(), [], base=base)
    asyncio.run(retriever.search(["q"], 3, Allowed(frozenset({"hr"}))))
    assert server.requests[-1][1].get("groups") == (["hr"] if narrows else None), "one without lists is for everybody"
    if narrows:
        asyncio.run(retriever.search(["q"], 3, Allowed(None, '{"a": 1}')))
        assert server.requests[-1][1]["filter"] == {"a": 1}
    else:
        with pytest.raises(CannotFilter, match="leave the filter out"):
            asyncio.run(retriever.search(["q"], 3, Allowed(None, '{"a": 1}')))

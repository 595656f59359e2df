"""Traces: the steps of a request with ids, scores and tokens, as a collector gets them; no words unless asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import DeskBench
from tests.support.otlp import Collector, collector
from tests.support.serving import browse
from tests.support.talking import FIRST, FOLLOW_UP, QUERY
from tests.support.talking import bench as bench
from wbrag.core import tracing
from wbrag.core.config import Config, load

CHAT = {"model": "wbrag", "messages": [*FIRST, FOLLOW_UP]}
SECRETS = ("Corvane", "1911", QUERY)


@pytest.fixture
def taken() -> Iterator[Collector]:
    with collector() as found:
        yield found
    tracing.stop()


def ask(bench: DeskBench, taken: Collector, body: Any = CHAT, path: str = "/v1/chat/completions", **how: Any) -> Any:
    """What the endpoint answers; the spans are there once it has stopped."""
    settings: Config = load(tracing={"endpoint": taken.url, "sample": 1.0} | how)
    tracing.start(settings.tracing, "gateway")
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    with browse(bench.app) as client:
        client.get("/healthz")
        reply = client.post(path, json=body, headers=headers)
    tracing.stop()
    return reply


@pytest.mark.parametrize("stream", [False, True])
def test_the_steps_of_a_conversation(bench: DeskBench, taken: Collector, stream: bool) -> None:
    reply = ask(bench, taken, CHAT | {"stream": stream})
    assert reply.status_code == 200 and taken.paths == {"/v1/traces"}
    served, answer = taken.named("POST /v1/chat/completions"), taken.named("answer")
    assert {span["trace"] for span in taken.spans} == {"0af7651916cd43dd8448eb211c80319c"}, "the client's own trace"
    assert served["parent"] == "b7ad6b7169203331" and served["http.response.status_code"] == 200
    assert served["wbrag.request_id"] == reply.headers["x-request-id"]
    assert answer["parent"] == served["id"] and answer["wbrag.release"] and answer["wbrag.task"] == "chat"
    condense, retrieval = taken.named("condense"), taken.named("retrieval")
    assert condense["parent"] == retrieval["parent"] == answer["id"]
    documents = json.loads(retrieval["gen_ai.retrieval.documents"])
    assert [d["id"] for d in documents] == [retrieval["retrieval.documents.0.document.id"], documents[1]["id"]]
    assert all(isinstance(document["score"], float) for document in documents)
    asked, said = sorted(
        (s for s in taken.spans if s["name"] == "chat some-model"), key=lambda s: s["parent"] != condense["id"]
    )
    assert asked["parent"] == condense["id"] and said["parent"] == answer["id"] and said["kind"] == 3
    assert said["gen_ai.usage.input_tokens"] > 0 and said["gen_ai.usage.output_tokens"] > 0
    assert said["gen_ai.response.finish_reasons"] == ["stop"] and said["of"]["service.name"] == "wbrag"
    assert not any(secret in json.dumps(taken.spans) for secret in SECRETS), "no words unless asked for"


def test_words_where_they_are_asked_for(bench: DeskBench, taken: Collector) -> None:
    ask(bench, taken, content=True)
    answer, retrieval = taken.named("answer"), taken.named("retrieval")
    assert answer["input.value"] == FOLLOW_UP["content"] and "1911" in answer["output.value"]
    assert retrieval["input.value"] == QUERY and retrieval["retrieval.documents.0.document.content"]
    assert all("gen_ai.input.messages" in span for span in taken.spans if span["name"].startswith("chat "))


def test_what_fails_is_told_without_its_words(bench: DeskBench, taken: Collector) -> None:
    bench.library.broken = "no answer to Corvane"
    assert ask(bench, taken, {"query": "Corvane?"}, "/v1/search").status_code == 502
    retrieval = taken.named("retrieval")
    assert retrieval["failed"] and retrieval["error.type"] == "WbragError" and "Corvane" not in json.dumps(taken.spans)
    assert taken.named("POST /v1/search")["http.response.status_code"] == 502


def test_nothing_is_traced_by_default(bench: DeskBench, taken: Collector) -> None:
    assert ask(bench, taken, sample=0.0).status_code == 200
    assert not taken.spans and tracing.carried() == {} and tracing.begun("x", {}) is tracing.NOTHING


def test_a_collector_that_is_away_costs_no_answer(bench: DeskBench, taken: Collector, caplog: Any) -> None:
    assert ask(bench, taken, endpoint="http://127.0.0.1:9").status_code == 200
    said = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert len(said) <= 1 and not any(record.exc_info for record in said)


def test_a_replica_elsewhere_goes_on_with_the_trace(taken: Collector, tmp_path: Path) -> None:
    settings = load(tracing={"endpoint": taken.url, "sample": 1.0}).tracing
    tracing.start(settings, "retriever")
    with tracing.span("here", {}):
        carried = tracing.carried()
    with tracing.span("search", tracing.step("CHAIN"), "server", carried):
        pass
    tracing.stop()
    here, there = taken.named("here"), taken.named("search")
    assert (there["trace"], there["parent"]) == (here["trace"], here["id"])
    again = load(
        **{"tracing": {k.removeprefix("WBRAG_TRACING__").lower(): v for k, v in tracing.environment(settings).items()}}
    )
    assert again.tracing == settings

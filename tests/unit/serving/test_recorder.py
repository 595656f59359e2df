"""What is kept of answers: rows, counters, log lines; and what is not."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.support.serving import PASSAGE, UNIT, ScriptedStream, bench, browse
from wbrag.core.errors import UsageError, WbragError
from wbrag.serving import recorder as recorders
from wbrag.serving.logs import JsonLines
from wbrag.serving.prometheus import age_s
from wbrag.serving.recorder import Recorder
from wbrag.units.releases import Release
from wbrag.units.usage import Feedback, Served, Usage

CHAT = "/v1/chat/completions"
QUESTION = "Who designed the Corvane gauge?"
BODY = {"messages": [{"role": "user", "content": QUESTION}]}
DASHBOARD = Path(__file__).parents[3] / "serve" / "grafana.json"


def row(number: int) -> Served:
    return Served(f"q{number}", "2026-01-01T00:00:00.000+00:00", "", "r1", "naive", "qa", "", "", (), (), (), 0.1)


@pytest.mark.parametrize("kept", ["none", "hits", "answers"])
def test_a_row_per_answer_holds_what_the_operator_wants(tmp_path: Path, kept: str) -> None:
    gate = bench(tmp_path, record=kept)
    with browse(gate.app) as client:
        assert client.post(CHAT, json={**BODY, "stream": True}).status_code == 200
        id = client.post(CHAT, json=BODY, headers={"x-request-id": "q1"}).json()["wbrag"]["request_id"]
        client.post("/v1/feedback", json={"request_id": id, "rating": -1, "comment": "no"})
    rows = gate.store.usage.served()  # written at the latest when the gateway stops
    assert len(rows) == (0 if kept == "none" else 2)
    for served in rows:
        assert (served.release, served.method, served.task) == ("r0002", "naive", "qa")
        assert (served.hit_ids, served.hit_origins) == ((UNIT.id, PASSAGE.id), ("writeback", "base"))
        assert (served.question, served.answer) == ((QUESTION, "Ada Thorn") if kept == "answers" else ("", ""))
        assert served.seconds > 0
    assert kept == "none" or id in {served.request_id for served in rows}
    rating = gate.store.usage.ratings()[id]
    assert (rating.rating, rating.comment) == (-1, "no")


def test_a_failing_disk_costs_no_answer_and_rows_wait_for_better_days(tmp_path: Path) -> None:
    gate = bench(tmp_path)
    recorder = gate.app.state.service.recorder
    write, recorder.served.write = recorder.served.write, _fail
    with browse(gate.app) as client:
        assert client.post(CHAT, json=BODY).status_code == 200
        assert client.portal is not None
        client.portal.call(recorder.flush)
        assert recorder.served.failures == 1
        assert re.search(r"wbrag_usage_rows_waiting\{.*\} 1.0", client.get("/metrics").text)
        recorder.served.write = write
    assert len(gate.store.usage.served()) == 1


def _fail(rows: list[Served]) -> None:
    raise OSError("no space left on device")


def test_rows_are_bounded_and_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "KEPT_ROWS", 3)

    async def main() -> None:
        recorder = Recorder(Usage(tmp_path))
        recorder.served.write = _fail
        for number in range(2):
            recorder.add(row(number))
        await recorder.flush()
        for number in range(2, 5):
            recorder.add(row(number))
        assert [served.request_id for served in recorder.served.rows] == ["q2", "q3", "q4"]
        assert recorder.served.lost == 2

    asyncio.run(main())


def test_many_rows_are_written_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "FLUSH_ROWS", 10)

    async def main() -> None:
        recorder = Recorder(Usage(tmp_path), flush_s=1000)
        recorder.start()
        for number in range(10):
            recorder.add(row(number))
        recorder.add(Feedback("q1", "2026-01-01", "", 1))
        while recorder.served.rows or recorder.feedback.rows:
            await asyncio.sleep(0.005)
        await recorder.stop()

    asyncio.run(main())
    assert len(Usage(tmp_path).served()) == 10 and len(Usage(tmp_path).ratings()) == 1


def test_what_prometheus_reads(tmp_path: Path) -> None:
    gate = bench(tmp_path)
    with browse(gate.app) as client:
        id = client.post(CHAT, json=BODY).json()["wbrag"]["request_id"]
        client.post("/v1/search", json={"query": "x"})
        gate.library.default = ()
        client.post(CHAT, json=BODY)
        client.post("/v1/feedback", json={"request_id": id, "rating": 1})
        client.get("/v1/models/nothing")
        client.get("/wp-admin.php")
        text = client.get("/metrics").text
    replica = f"{socket.gethostname()}:{os.getpid()}"  # keeps several gateways behind one address apart
    values = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return values[name, tuple(sorted({**labels, "replica": replica}.items()))]

    assert value("wbrag_requests_total", route=CHAT, status="200") == 2
    assert value("wbrag_requests_total", route="/v1/models/{name:path}", status="404") == 1
    assert value("wbrag_requests_total", route="other", status="404") == 1
    assert value("wbrag_hits_total", origin="writeback") == value("wbrag_hits_total", origin="base") == 2
    assert value("wbrag_answers_total", method="naive") == 2 and value("wbrag_answers_with_units_total") == 1
    assert value("wbrag_empty_hits_total") == 1
    assert value("wbrag_tokens_total", kind="output") == 8
    assert value("wbrag_feedback_total", rating="up") == 1
    assert {value("wbrag_stage_seconds_count", stage=s) for s in ("queue", "generate", "total")} == {2}
    assert value("wbrag_stage_seconds_count", stage="retrieve") == 3
    assert 0 <= value("wbrag_release_age_seconds") < 60 and value("wbrag_release_number") == 2
    assert value("wbrag_ready") == 1


def test_the_base_corpus_alone_has_no_age() -> None:
    assert age_s(None) != age_s(None) and age_s(Release.of_base("", "", "")) != 0


def test_the_dashboard_asks_only_for_what_there_is(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    known = {
        name
        for family in bench(tmp_path).app.state.service.metrics.registry.collect()
        for name in (family.name, *(f"{family.name}_{end}" for end in ("total", "bucket", "sum", "count")))
    }
    exposed = {s.name for f in bench(tmp_path / "b").app.state.service.metrics.registry.collect() for s in f.samples}
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"\bwbrag_[a-z_]+", target["expr"])
    }
    assert len(asked) > 12 and asked <= known
    # families whose series appear with their first event are known by family only
    assert asked - exposed <= {"wbrag_requests_total", "wbrag_answers_total"}
    every = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    for expr in every:  # a panel adds the replicas up; a gauge counts though another replica answered the last scrape
        assert re.match(r"(sum|max|min|histogram_quantile)\b", expr) and "replica" not in expr
        assert "_over_time" in expr or "rate(" in expr or "increase(" in expr
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"] if "targets" in panel} == {"${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def lines(client: TestClient, *bodies: Any) -> list[dict[str, Any]]:
    """The gateway's log lines while it answers `bodies`."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("wbrag.serving")
    logger.addHandler(handler)
    try:
        for body in bodies:
            client.post(CHAT, json=body, headers={"x-request-id": "q1"})
    finally:
        logger.removeHandler(handler)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("kept", ["hits", "answers"])
def test_one_log_line_a_request_without_the_question(tmp_path: Path, kept: str) -> None:
    with browse(bench(tmp_path, record=kept).app) as client:
        whole, streamed, refused = lines(client, BODY, {**BODY, "stream": True}, {"messages": []})
    for line in (whole, streamed):
        assert (line["request_id"], line["status"], line["release"], line["rag_method"]) == (
            "q1",
            200,
            "r0002",
            "naive",
        )
        assert (line["hits"], line["units"]) == (2, 1) and line["total_s"] >= line["generate_s"] >= 0
        assert (QUESTION in json.dumps(line)) == (kept == "answers")
    assert refused["status"] == 400 and refused["error"].startswith("messages: ")


@pytest.mark.parametrize("failure", [WbragError, UsageError])
def test_the_cause_that_a_client_is_not_told_is_logged_without_the_question(
    tmp_path: Path, failure: type[Exception]
) -> None:
    said = f"http://10.0.0.7 did not\nanswer {QUESTION!r}"
    generator = ScriptedStream(lambda m, s: "x", failures={0: failure(said)})
    with browse(bench(tmp_path, generator).app) as client:
        cause, request = lines(client, BODY)
    assert (cause["event"], cause["request_id"]) == ("upstream", "q1")
    assert cause["error"] == "http://10.0.0.7 did not answer '[question]'" and QUESTION not in json.dumps(request)


def test_an_error_of_ours_is_logged_whole_and_forges_no_line(tmp_path: Path) -> None:
    generator = ScriptedStream(lambda m, s: "x", failures={0: RuntimeError('oh\n{"forged": 1}')})
    gate = bench(tmp_path, generator)
    with browse(gate.app) as client:
        error, request = lines(client, BODY)
    assert error["level"] == "error" and "RuntimeError" in error["trace"] and error["request_id"] == "q1"
    assert request["status"] == 500


def test_its_tables_are_tidied_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit every five seconds is half a million files a month; a table that cannot be tidied costs no answer."""
    monkeypatch.setattr(recorders, "TIDIED", 2)
    usage, tidied = Usage(tmp_path), list[int]()

    def tidy() -> None:
        tidied.append(len(usage.served()))
        raise OSError("no space left")

    monkeypatch.setattr(usage, "tidy", tidy)

    async def scenario() -> None:
        recorder = Recorder(usage, flush_s=0.01)
        recorder.start()
        for number in range(8):
            recorder.add(row(number))
            await asyncio.sleep(0.05)
        await recorder.stop()

    asyncio.run(scenario())
    assert tidied and len(usage.served()) == 8

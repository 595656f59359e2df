"""Too many requests, slow ones, clients that leave, a gateway that stops."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import StreamingResponse

from tests.support.serving import Bench, ScriptedStream, bench, served, until
from wbrag.core.errors import PromptRefused, PromptTooLong, UsageError, WbragError
from wbrag.serving.api.app import drain, startup_error

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "Who?"}]}
STREAM = {**BODY, "stream": True}


def slow(delay_s: float = 0.0, pause_s: float = 0.0, **more: Any) -> ScriptedStream:
    return ScriptedStream(lambda messages, sampling: "a b c d", delay_s=delay_s, pause_s=pause_s, **more)


@asynccontextmanager
async def asking(gate: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """A client in the gateway's own loop, with the lifespan around it."""
    transport = httpx.ASGITransport(gate.app)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)
    async with gate.app.router.lifespan_context(gate.app), client:
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.001)
        yield client


def using(gate: Bench, work: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with asking(gate) as client:
            return await work(client)

    return asyncio.run(main())


def test_past_the_queue_the_answer_is_429_at_once_and_then_all_is_well_again(tmp_path: Path) -> None:
    gate = bench(tmp_path, slow(), concurrency=2, queue=3)

    async def work(client: httpx.AsyncClient) -> None:
        gate.generator.go = asyncio.Event()  # nobody is answered before all others were refused
        asked = [asyncio.create_task(client.post(CHAT, json=BODY)) for _ in range(50)]
        replies = []
        for reply in asyncio.as_completed(asked):
            replies.append(await reply)
            if len(replies) == 45:
                gate.generator.go.set()
        assert [reply.status_code for reply in replies] == [429] * 45 + [200] * 5  # in the order of their coming
        refused = next(reply for reply in replies if reply.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error" and refused.json()["error"]["code"] == "busy"
        assert gate.generator.max_in_flight == 2
        metrics = (await client.get("/metrics")).text
        assert re.search(r'wbrag_refused_total\{reason="busy",.*\} 45.0', metrics)
        assert re.search(r"wbrag_queue_length\{.*\} 0.0", metrics) and re.search(r"wbrag_in_flight\{.*\} 0.0", metrics)
        assert (await client.post(CHAT, json=BODY)).status_code == 200

    using(gate, work)


def test_the_wait_counts_against_the_deadline_and_a_client_may_lower_it(tmp_path: Path) -> None:
    gate = bench(tmp_path, slow(), concurrency=1, timeout_s=60)

    async def work(client: httpx.AsyncClient) -> None:
        gate.generator.go = asyncio.Event()
        first = asyncio.create_task(client.post(CHAT, json=BODY))
        while not gate.generator.in_flight:
            await asyncio.sleep(0.001)
        waited = await client.post(CHAT, json=BODY, headers={"x-request-timeout": "0.05"})
        assert waited.status_code == 504 and waited.json()["error"]["code"] == "timeout"
        assert not first.done()
        gate.generator.go.set()
        assert (await first).status_code == 200
        for bad in ("0", "-1", "nan", "inf", "soon"):
            reply = await client.post(CHAT, json=BODY, headers={"x-request-timeout": bad})
            assert reply.status_code == 400 and "x-request-timeout" in reply.json()["error"]["message"]

    using(gate, work)


def test_the_operators_deadline_cannot_be_raised_and_cancels_the_model(tmp_path: Path) -> None:
    gate = bench(tmp_path, slow(30), timeout_s=0.05)

    async def work(client: httpx.AsyncClient) -> None:
        reply = await client.post(CHAT, json=BODY, headers={"x-request-timeout": "60"})
        assert reply.status_code == 504 and gate.generator.cancelled == 1 and gate.generator.in_flight == 0
        streamed = await client.post(CHAT, json=STREAM)  # nothing was said yet: an ordinary error
        assert streamed.status_code == 504

    using(gate, work)


def test_a_stream_that_has_begun_ends_with_the_error_in_it(tmp_path: Path) -> None:
    endless = ScriptedStream(lambda messages, sampling: "a " * 1000, pause_s=0.1)
    gate = bench(tmp_path, endless, timeout_s=1.5)

    async def work(client: httpx.AsyncClient) -> None:
        reply = await client.post(CHAT, json=STREAM)
        assert reply.status_code == 200
        *_, last = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
        assert json.loads(last)["error"]["code"] == "timeout" and "[DONE]" not in reply.text

    using(gate, work)
    assert gate.generator.cancelled == 1


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "streamed"])
def test_a_client_that_hangs_up_cancels_the_model_and_frees_its_place(tmp_path: Path, body: dict[str, Any]) -> None:
    gate = bench(tmp_path, slow(30), concurrency=1)
    _hang_up(gate, body, lambda: gate.generator.in_flight == 1)


def test_a_client_that_hangs_up_amid_the_stream_does_so_too(tmp_path: Path) -> None:
    gate = bench(tmp_path, slow(pause_s=0.4), concurrency=1)
    _hang_up(gate, STREAM, lambda: True, read=b'"content":"a')


def _hang_up(gate: Bench, body: dict[str, Any], ready: Callable[[], bool], read: bytes = b"") -> None:
    """Send `body`, wait until `ready` and until `read` has come, close the connection."""
    sent = json.dumps(body).encode()
    with served(gate.app) as url:
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as line:
            head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            line.sendall(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)
            until(ready)
            heard = b""
            while read not in heard:
                more = line.recv(1000)
                assert more, f"the connection was closed after {heard[-300:]!r}"
                heard += more
        until(lambda: gate.generator.cancelled == 1)
        until(lambda: gate.app.state.service.admission.working == 0)
        gone = r'wbrag_errors_total\{kind="client_gone",.*\} 1.0'
        until(lambda: re.search(gone, httpx.get(f"{url}/metrics").text))
        gate.generator.delay_s = gate.generator.pause_s = 0
        assert httpx.post(f"{url}{CHAT}", json=BODY).status_code == 200


def test_draining_finishes_what_was_begun_and_takes_nothing_new(tmp_path: Path) -> None:
    gate = bench(tmp_path, slow(0.2))

    async def work(client: httpx.AsyncClient) -> None:
        begun = asyncio.create_task(client.post(CHAT, json=BODY))
        while not gate.generator.in_flight:
            await asyncio.sleep(0.001)
        draining = asyncio.create_task(drain(gate.app))
        await asyncio.sleep(0)
        assert (await client.get("/readyz")).json() == {"status": "not ready", "why": "stopping"}
        assert (await client.get("/healthz")).status_code == 200
        late = await client.post(CHAT, json=BODY)
        assert late.status_code == 503 and late.headers["retry-after"] == "1"
        assert (await begun).status_code == 200 and await draining

    using(gate, work)
    assert gate.generator.closed


def test_draining_waits_for_the_last_byte_and_for_what_outlives_its_request(tmp_path: Path) -> None:
    gate = bench(tmp_path)
    state, sent = gate.app.state, asyncio.Event()

    @gate.app.get("/tail")
    async def tail() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "a"
            await sent.wait()
            yield "b"

        return StreamingResponse(parts())

    async def published() -> str:
        await asyncio.sleep(0.05)
        return "r0003"

    async def work(client: httpx.AsyncClient) -> None:
        begun = asyncio.create_task(client.get("/tail"))
        while not state.service.admission.open:
            await asyncio.sleep(0.001)
        leaving = asyncio.create_task(state.background.finish(published()))
        await asyncio.sleep(0)
        [kept] = state.background._tasks
        leaving.cancel()
        draining = asyncio.create_task(drain(gate.app))
        await asyncio.sleep(0.1)
        assert kept.result() == "r0003" and leaving.cancelled() and not draining.done()
        sent.set()
        assert await draining and (await begun).text == "ab"

    using(gate, work)


def test_prompts_that_are_refused_are_no_failures_of_the_model(tmp_path: Path) -> None:
    gate = bench(tmp_path, slow(failures={n: PromptRefused("no") for n in range(5)}))

    async def work(client: httpx.AsyncClient) -> None:
        for _ in range(5):
            assert (await client.post(CHAT, json=BODY)).status_code == 502
        assert (await client.get("/readyz")).status_code == 200 and gate.generator.starts == 1

    using(gate, work)


def test_what_keeps_it_from_being_ready_is_told_to_the_operator(tmp_path: Path) -> None:
    gate = bench(tmp_path)
    release, gate.current.release = gate.current.release, None
    gate.current.refused["r0002"] = "a shard is damaged"
    assert startup_error(gate.app) == "release r0002: a shard is damaged"
    gate.current.release = release
    assert startup_error(gate.app) == ""
    gate.app.state.service.health.error = "no such model"
    assert startup_error(gate.app) == "no such model"


def test_nothing_is_taken_before_library_and_model_are_there(tmp_path: Path) -> None:
    gate = bench(tmp_path)
    release, gate.current.release = gate.current.release, None

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate.app), base_url="http://localhost") as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).json()["why"] == "the library is being loaded"
            gate.current.release = release
            assert (await client.get("/readyz")).json()["why"] == "the model does not answer"
            early = await client.post(CHAT, json=BODY)
            assert early.status_code == 503 and early.headers["retry-after"] == "5"

    asyncio.run(main())


def test_a_model_that_fails_again_and_again_is_reported_and_started_again(tmp_path: Path) -> None:
    secret = "http://10.0.0.7:8001 did not answer"
    gate = bench(tmp_path, slow(failures={n: WbragError(secret) for n in range(3)}))

    async def work(client: httpx.AsyncClient) -> None:
        for _ in range(3):
            reply = await client.post(CHAT, json=BODY)
            assert reply.status_code == 502 and "10.0.0.7" not in reply.text
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.001)
        assert gate.generator.starts == 2
        assert (await client.post(CHAT, json=BODY)).status_code == 200

    using(gate, work)


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (PromptTooLong("expected a prompt of at most 9 tokens, found 10"), 400, "at most 9 tokens"),
        (UsageError("the endpoint http://inner gives no tokens"), 400, "'naive' cannot be served with this model"),
        (RuntimeError("a secret /path"), 500, "under the request id abc"),
    ],
)
def test_errors_say_what_the_client_may_know(tmp_path: Path, failure: Exception, status: int, said: str) -> None:
    gate = bench(tmp_path, slow(failures={0: failure}))

    async def work(client: httpx.AsyncClient) -> None:
        reply = await client.post(CHAT, json=BODY, headers={"x-request-id": "abc"})
        assert reply.status_code == status and said in reply.json()["error"]["message"]
        assert "inner" not in reply.text and "secret" not in reply.text and "Traceback" not in reply.text
        assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["x-request-id"] == "abc"

    using(gate, work)


def test_one_request_stays_with_the_release_it_began_with(tmp_path: Path) -> None:
    gate = bench(tmp_path, slow(0.02))
    old, new = gate.store.releases.all()
    gate.current.release = old

    async def work(client: httpx.AsyncClient) -> None:
        asked = {**BODY, "model": "wbrag/iter_retgen"}
        begun = asyncio.create_task(client.post(CHAT, json=asked))
        while not gate.library.calls:
            await asyncio.sleep(0.001)
        gate.current.release = new
        assert (await begun).json()["wbrag"]["release"] == "r0001"
        assert {release for _, release, _ in gate.library.calls} == {"r0001"} and len(gate.library.calls) == 3
        assert (await client.post(CHAT, json=asked)).json()["wbrag"]["release"] == "r0002"

    using(gate, work)

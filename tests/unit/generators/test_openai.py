"""The 'openai' generator against a real server that misbehaves; waits are recorded, never slept."""

from __future__ import annotations

import asyncio
import email.utils
import gc
import json
import time
from typing import Any

import pytest

from tests.support.asking_openai import GREEDY, PROMPT, ask, make, refused, using
from tests.support.openai_server import OpenAIServer, Step, cut, drip, error, hang, ok, raw, reset, word_logprob
from wbrag.core.errors import NoAnswer, PromptRefused, PromptTooLong
from wbrag.core.types import Completion, Generator, Sampling
from wbrag.generators.openai import OpenAIGenerator


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_an_answer_carries_text_counts_and_the_whole_request() -> None:
    with OpenAIServer(reply=lambda messages: messages[-1]["content"].upper()) as server:
        generator: Generator = make(server.url + "/", seed=3)
        assert isinstance(generator, OpenAIGenerator)
        done = ask(generator, Sampling(max_tokens=7, temperature=0.5, seed=4, stop=("\n",)))
        assert done == Completion("CAPITAL OF FRANCE?", tokens=3, prompt_tokens=8)
        assert server.requests == [
            {
                "model": "tiny",
                "messages": [{"role": m.role, "content": m.content} for m in PROMPT],
                "max_tokens": 7,
                "temperature": 0.5,
                "seed": 7,
                "stop": ["\n"],
            }
        ]
        assert generator.fingerprint == f"openai:{server.url}:tiny"
        assert server.keys == ["none"]


def test_logprobs_are_nats_per_token_with_alternatives() -> None:
    with OpenAIServer(reply=lambda messages: "Paris indeed") as server:
        done = ask(make(server.url), Sampling(logprobs=2))
    assert done.logprobs == (word_logprob("Paris"), word_logprob("indeed"))
    assert done.top_logprobs[0] == {"Paris0": word_logprob("Paris"), "Paris1": word_logprob("Paris") - 1}


def test_of_alternatives_that_read_alike_the_likeliest_counts() -> None:
    tops = [{"token": text, "logprob": logprob} for text, logprob in (("", -1.0), ("a", -1.5), ("", -2.0))]
    token = {"token": "", "logprob": -1.0, "top_logprobs": tops}
    choice = {"index": 0, "message": {"content": "x"}, "logprobs": {"content": [token]}}
    with OpenAIServer(script=[raw(json.dumps({"choices": [choice]}))]) as server:
        assert ask(make(server.url), Sampling(logprobs=3)).top_logprobs == ({"": -1.0, "a": -1.5},)


def answer(content: object = "Paris", logprob: float | None = None) -> dict[str, Any]:
    """A reply of the endpoint, whose only token has that log-probability."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    if logprob is not None:
        choice["logprobs"] = {"content": [{"token": "Paris", "logprob": logprob, "top_logprobs": []}]}
    return {"choices": [choice], "usage": None}


RETRIED = {
    "429": error(429),
    "408": error(408),
    "409": error(409),
    "500": error(500),
    "503": error(503),
    "not JSON": raw("{oops"),
    "a web page": raw("<html>hello</html>", "text/html"),
    "null": raw("null"),
    "a list": raw("[1, 2]"),
    "no choices": raw(json.dumps({"choices": [], "usage": None})),
    "no message": raw(json.dumps({"choices": [{"index": 0}]})),
    "half a body": cut(),
    "no answer": hang(),
    "a reset": reset(),
    "byte by byte": drip(),
    "half of the JSON": raw(json.dumps(answer())[:60]),
    "another shape": raw(json.dumps({"result": "Paris"})),
    "two choices": raw(json.dumps({"choices": answer()["choices"] * 2})),
    "no text": raw(json.dumps(answer(content=7))),
    "an error with 200": raw(json.dumps({"error": {"message": "no worker is free", "code": 502}})),
}


@pytest.mark.parametrize("step", RETRIED.values(), ids=RETRIED.keys())
def test_what_may_pass_is_tried_again(step: Step) -> None:
    waits: list[float] = []
    with OpenAIServer(script=[step, ok()]) as server:
        assert ask(make(server.url, waits, timeout_s=1.0)).text == "ok"
        assert len(server.requests) == 2
    assert waits == [0.5]


@pytest.mark.parametrize("logprob", [float("nan"), float("inf")])
def test_a_log_probability_that_is_no_number_is_no_answer(logprob: float) -> None:
    with OpenAIServer(script=[raw(json.dumps(answer(logprob=logprob)))]) as server:
        assert ask(make(server.url), Sampling(logprobs=1)).text == "ok"
        assert len(server.requests) == 2


def test_what_an_error_with_200_says_is_told() -> None:
    with OpenAIServer(script=[RETRIED["an error with 200"]] * 9) as server:
        assert "no worker is free" in str(refused(make(server.url, max_retries=1)))


def test_an_endpoint_that_restarts_is_waited_for() -> None:
    with OpenAIServer() as server:
        port = int(server.url.split(":")[2].removesuffix("/v1"))
    again = OpenAIServer(port=port)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            again.__enter__()

    try:
        generator = OpenAIGenerator("tiny", server.url, sleep=sleep, uniform=lambda: 0.5, max_retries=3)
        assert ask(generator).text == "ok" and len(waits) == 3
    finally:
        again.__exit__(None, None, None)


def test_waits_double_up_to_the_cap_and_the_end_says_what_was_tried() -> None:
    waits: list[float] = []
    with OpenAIServer(script=[error(408)] * 2 + [error(500, "out of memory")] * 6) as server:
        said = str(refused(make(server.url, waits, max_retries=7)))
        assert len(server.requests) == 8
        assert server.url in said
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert "8 tries" in said and "2 x HTTP 408, 6 x HTTP 500" in said and "out of memory" in said


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (error(400, "This model's maximum context length is 4096 tokens. However, you requested 5000."), PromptTooLong),
        (error(400, "the prompt breaks our rules"), PromptRefused),
        (error(403, "no access to this model"), NoAnswer),
    ],
)
def test_what_is_wrong_with_a_prompt_is_told_from_what_is_wrong_with_the_model(step: Step, kind: type) -> None:
    with OpenAIServer(script=[step]) as server:
        found = refused(make(server.url))
        assert type(found) is kind and len(server.requests) == 1
        assert kind is not PromptTooLong or server.url not in str(found), "clients are told this sentence"


def test_no_server_is_a_connection_error_with_its_cause() -> None:
    with OpenAIServer() as server:
        url = server.url
    waits: list[float] = []
    said = str(refused(make(url, waits, max_retries=2)))
    assert len(waits) == 2 and "3 x connection error" in said and url in said


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry_after": "7"}, 7.5),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.75),
        ({"retry_after": "soon"}, 0.5),
        ({"retry_after": "nan"}, 0.5),
        ({"retry_after": "-3"}, 0.5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int, headers: dict[str, str], expected: float) -> None:
    waits: list[float] = []
    with OpenAIServer(script=[error(status, **headers)]) as server:
        ask(make(server.url, waits))
    assert waits == [expected]


def test_retry_after_may_be_a_date_and_counts_only_where_it_is_defined() -> None:
    waits: list[float] = []
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    with OpenAIServer(script=[error(429, retry_after=date), error(500, retry_after="50")]) as server:
        ask(make(server.url, waits))
    assert 57 < waits[0] < 61 and waits[1] == 1.0


@pytest.mark.parametrize("headers", [{}, {"retry_after": "20"}])
def test_a_busy_server_is_waited_for_whatever_the_retries_but_not_for_ever(headers: dict[str, str]) -> None:
    waits: list[float] = []
    with OpenAIServer(script=[error(429, **headers)] * 12 + [error(500)]) as server:
        assert ask(make(server.url, waits, max_retries=1)).text == "ok"
    assert len(waits) == 13
    waits.clear()
    with OpenAIServer(script=[error(429, **headers)] * 99) as server:
        assert "x HTTP 429" in str(refused(make(server.url, waits, max_retries=1)))
    assert 250 < sum(waits) <= 300


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    waits: list[float] = []
    with OpenAIServer(script=[error(429, retry_after="3600")]) as server:
        assert "asks to wait 3600 s" in str(refused(make(server.url, waits)))
    assert waits == []


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    async def many(generator: OpenAIGenerator) -> list[Completion]:
        return await asyncio.gather(*(generator.generate(PROMPT, GREEDY) for _ in range(12)))

    with OpenAIServer(delay_s=0.02) as server:
        assert len(using(make(server.url, max_concurrency=3), many)) == 12
        assert server.max_in_flight == 3


def test_a_waiting_retry_holds_no_slot() -> None:
    """With one slot, a call that sleeps between tries must let another one through."""
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await asyncio.wait_for(done.wait(), 60)

    async def both(generator: OpenAIGenerator) -> None:
        slow = asyncio.create_task(generator.generate(PROMPT, GREEDY))
        while len(server.requests) == 0:
            await asyncio.sleep(0.001)
        await generator.generate(PROMPT, GREEDY)
        done.set()
        await slow

    with OpenAIServer(script=[error(500)]) as server:
        using(OpenAIGenerator("tiny", server.url, max_concurrency=1, sleep=sleep), both)
        assert len(server.requests) == 3


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_works_in_one_event_loop_after_another_closed_or_not() -> None:
    async def crowd() -> None:
        await asyncio.gather(*(generator.generate(PROMPT, GREEDY) for _ in range(4)))

    with OpenAIServer() as server:
        generator = make(server.url, max_concurrency=2)
        asyncio.run(crowd())  # left open: its connections die with its loop
        using(generator, lambda g: crowd())
        using(generator, lambda g: crowd())
        assert len(server.requests) == 12
    gc.collect()  # the dead loop's sockets warn here, not in a later test

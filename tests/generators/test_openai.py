"""The 'openai' generator against a real server that misbehaves; waits are recorded, never slept."""

from __future__ import annotations

import asyncio
import email.utils
import gc
import json
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from tests.support.openai_server import OpenAIServer, Step, cut, drip, error, hang, ok, raw, reset, word_logprob
from wbrag.errors import NoAnswer, PromptRefused, PromptTooLong, UsageError, WbragError
from wbrag.generators.openai import OpenAIGenerator
from wbrag.types import Completion, Generator, Message, Sampling, Scored

T = TypeVar("T")
PROMPT = [Message("system", "Be short."), Message("user", "Capital of France?")]
GREEDY = Sampling()
SECRET = "sk-proj-aVerySecretKey0123456789"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def make(url: str, waits: list[float] | None = None, model: str = "tiny", **settings: Any) -> OpenAIGenerator:
    """A generator whose jitter is always one half."""

    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return OpenAIGenerator(model, url, sleep=sleep, uniform=lambda: 0.5, **settings)


def using(generator: OpenAIGenerator, work: Callable[[OpenAIGenerator], Awaitable[T]]) -> T:
    async def main() -> T:
        try:
            return await work(generator)
        finally:
            await generator.close()

    return asyncio.run(main())


def ask(generator: OpenAIGenerator, sampling: Sampling = GREEDY) -> Completion:
    return using(generator, lambda g: g.generate(PROMPT, sampling))


def refused(generator: OpenAIGenerator, work: Callable[[OpenAIGenerator], Awaitable[T]] | None = None) -> WbragError:
    """The one sentence it fails with."""
    with pytest.raises(WbragError) as caught:
        using(generator, work or (lambda g: g.generate(PROMPT, GREEDY)))
    assert "\n" not in str(caught.value)
    return caught.value


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
    "no text": raw(json.dumps(answer(content={"text": "Paris"}))),
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


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_cannot_pass_fails_at_once(status: int) -> None:
    waits: list[float] = []
    with OpenAIServer(script=[error(status, "this prompt is too long")]) as server:
        said = str(refused(make(server.url, waits)))
        assert len(server.requests) == 1
    assert waits == [] and str(status) in said
    assert ("this prompt is too long" in said) == (status != 401)


def test_an_unknown_model_names_those_there_are() -> None:
    with OpenAIServer(models=["tiny-chat", "huge"]) as server:
        said = str(refused(make(server.url, model="tiny-chta")))
    assert "unknown model 'tiny-chta': did you mean 'tiny-chat'?" in said and said.endswith("lists huge, tiny-chat")


def test_a_wrong_path_hints_at_v1() -> None:
    with OpenAIServer() as server:
        assert "often ends in /v1" in str(refused(make(server.url.removesuffix("/v1"))))


def test_a_missing_key_names_the_variable() -> None:
    with OpenAIServer(api_key=SECRET) as server:
        said = str(refused(make(server.url, api_key_env="MY_KEY")))
    assert "set MY_KEY" in said


@pytest.mark.parametrize(
    "step", [ok(), error(403, f"no {SECRET}"), error(400, f"bad {SECRET}"), error(500, f"oh {SECRET}"), raw(SECRET)]
)
def test_no_error_shows_a_key(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    with OpenAIServer(script=[step], api_key="another") as server:
        failure = refused(make(server.url, max_retries=0))
        assert server.keys == [SECRET]
    assert SECRET not in "".join(traceback.format_exception(failure))


def test_a_key_that_no_header_can_carry_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc\ndef")
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        make("http://127.0.0.1:1/v1")
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://host/v1", "http://", "http://u:pass@host/v1"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base_url") as caught:
        make(url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("setting", [{"max_concurrency": 0}, {"timeout_s": 0}, {"max_retries": -1}])
def test_a_senseless_setting_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(setting))):
        make("http://127.0.0.1:1/v1", **setting)


def test_a_prompt_that_is_no_text_is_not_the_servers_fault() -> None:
    with OpenAIServer() as server:
        said = refused(make(server.url), lambda g: g.generate([Message("user", "a\ud800b")], GREEDY))
        assert "not Unicode" in str(said) and server.requests == []


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
        await asyncio.wait_for(done.wait(), 5)

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


def test_score_sums_the_continuation_only() -> None:
    with OpenAIServer(vllm=True) as server:
        score = using(make(server.url), lambda g: g.score(PROMPT, " New York"))
        assert "prompt_logprobs" not in server.requests[1]
    assert score.logprob == pytest.approx(word_logprob("New") + word_logprob("York")) and score.prompt_tokens > 2


def test_score_of_nothing_is_certain() -> None:
    assert using(make("http://127.0.0.1:1/v1"), lambda g: g.score(PROMPT, "")) == Scored(0.0, 0)


@pytest.mark.parametrize("strict", [True, False])
def test_score_without_vllm_is_a_usage_error(strict: bool) -> None:
    with OpenAIServer(strict=strict) as server:
        failure = refused(make(server.url), lambda g: g.score(PROMPT, "Paris"))
    assert isinstance(failure, UsageError) and "cannot score" in str(failure) and "'vllm'" in str(failure)


def test_score_refuses_a_template_that_adds_to_the_turn() -> None:
    with OpenAIServer(vllm=True, think="<think> </think>") as server:
        assert "<think></think>paris" in str(refused(make(server.url), lambda g: g.score(PROMPT, "Paris")))


def test_check_passes_with_one_small_request() -> None:
    with OpenAIServer(vllm=True) as server:
        using(make(server.url), lambda g: g.check(need_logprobs=True))
        assert [body["max_tokens"] for body in server.requests] == [1]
        using(make(server.url), lambda g: g.check(need_score=True))


@pytest.mark.parametrize(
    ("server", "needs", "expected"),
    [
        (OpenAIServer(logprobs=False), {"need_logprobs": True}, "no token log-probabilities"),
        (
            OpenAIServer(script=[error(400, "logprobs are not supported")]),
            {"need_logprobs": True},
            "no token log-probabilities",
        ),
        (OpenAIServer(), {"need_score": True}, "cannot score"),
        (OpenAIServer(models=["other"]), {}, "unknown model 'tiny'"),
        (OpenAIServer(api_key="k"), {}, "OPENAI_API_KEY"),
        (OpenAIServer(script=[error(500)] * 9), {}, "2 tries"),
    ],
)
def test_check_refuses_by_name(server: OpenAIServer, needs: dict[str, bool], expected: str) -> None:
    with server:
        assert expected in str(refused(make(server.url), lambda g: g.check(**needs)))

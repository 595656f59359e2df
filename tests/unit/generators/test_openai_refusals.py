"""What the 'openai' generator refuses, in one sentence that shows no key, and what it can score."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from tests.support.asking_openai import GREEDY, PROMPT, SECRET, make, refused, using
from tests.support.openai_server import OpenAIServer, Step, error, ok, raw, word_logprob
from wbrag.core.errors import UsageError
from wbrag.core.types import Message, Scored


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


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

"""Endpoints that take other fields, other names or other roles: the request is sent again as they want it, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.asking_openai import ask, make, refused, using
from tests.support.openai_server import Body, OpenAIServer, Step, ok, raw
from wbrag.core.config import load
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.types import Message, Sampling
from wbrag.generators import generator_fingerprint, reply_fingerprint
from wbrag.generators.openai_dialect import Dialect, folded

Says = tuple[Callable[[Body], bool], int, Any]


def openai_says(message: str, param: str | None = None) -> Any:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def pydantic_says(name: str) -> Any:
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]}


def has(name: str) -> Callable[[Body], bool]:
    return lambda body: name in body


def has_system(body: Body) -> bool:
    return any(m["role"] == "system" for m in body["messages"])


@dataclass
class Picky(OpenAIServer):
    """Refuses what its rules match, as servers do."""

    rules: Sequence[Says] = ()
    refusals: list[int] = field(default_factory=list)

    def step(self, number: int, body: Body) -> Step:
        for matches, status, said in self.rules:
            if matches(body):
                self.refusals.append(number)
                return raw(json.dumps(said), status=status)
        return ok()


TAKES_NO: dict[str, tuple[Sequence[Says], Mapping[str, Any]]] = {
    "max_tokens, by name": (
        [(has("max_tokens"), 400, openai_says("Use 'max_completion_tokens' instead.", "max_tokens"))],
        {"max_tokens": None, "max_completion_tokens": 32},
    ),
    "max_tokens, of a strict schema": (
        [(has("max_tokens"), 422, pydantic_says("max_tokens"))],
        {"max_completion_tokens": 32},
    ),
    "temperature": (
        [(has("temperature"), 400, openai_says("'temperature' does not support 0 with this model.", "temperature"))],
        {"temperature": None, "seed": 0},
    ),
    "seed": ([(has("seed"), 422, pydantic_says("seed"))], {"seed": None, "temperature": 0.0}),
    "stop": ([(has("stop"), 400, openai_says("Unsupported parameter: stop"))], {"stop": None}),
    "three of them": (
        [
            (has("max_tokens"), 400, openai_says("max_tokens is deprecated", "max_tokens")),
            (has("temperature"), 400, openai_says("temperature must be strictly positive")),
            (has("seed"), 400, openai_says("Unrecognized request argument supplied: seed")),
        ],
        {"max_completion_tokens": 32, "max_tokens": None, "temperature": None, "seed": None},
    ),
}
SYSTEM = {
    "a template's words": (400, openai_says("System role not supported")),
    "jinja's, as a server error": (500, openai_says("TemplateError: System role not supported")),
    "alternation": (400, openai_says("Conversation roles must alternate user/assistant/user/assistant/...")),
    "o1": (400, openai_says("Unsupported value: 'messages[0].role' does not support 'system'.", "messages[0].role")),
    "Gemma's API": (400, openai_says("Developer instruction is not enabled for models/gemma-3-27b-it")),
}


@pytest.mark.parametrize("name", TAKES_NO)
def test_what_an_endpoint_does_not_take_is_sent_otherwise(name: str, caplog: pytest.LogCaptureFixture) -> None:
    rules, expected = TAKES_NO[name]
    with Picky(rules=rules) as server:
        generator = make(server.url, max_retries=0)
        sampling = Sampling(stop=("\n",))
        for _ in range(2):
            assert ask(generator, sampling).text == "ok"
        body = server.requests[-1]
        assert {key: body.get(key) for key in expected} == expected
        assert len(server.refusals) == len(rules) and len(server.requests) == len(rules) + 2, "learned once"
    assert caplog.text.count("takes no") == len(rules)


@pytest.mark.parametrize("name", SYSTEM)
def test_a_system_prompt_goes_before_the_users_text(name: str) -> None:
    status, said = SYSTEM[name]
    with Picky(rules=[(has_system, status, said)]) as server:
        generator = make(server.url, max_retries=0)
        assert [ask(generator).text, ask(generator).text] == ["ok", "ok"]
        assert server.requests[-1]["messages"] == [{"role": "user", "content": "Be short.\n\nCapital of France?"}]
        assert len(server.requests) == 3


@pytest.mark.parametrize("said", ["Internal system error, try again", "system overloaded", "The file system is full"])
@pytest.mark.parametrize("status", [400, 500])
def test_other_systems_are_no_system_prompt(said: str, status: int) -> None:
    body = {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}
    assert Dialect().adapted(status, frozenset(said.split()), said, body) is None


def test_a_streamed_request_adapts_as_well() -> None:
    rules = [
        (has("stream_options"), 400, openai_says("stream_options is not permitted")),
        (has_system, 400, SYSTEM["o1"][1]),
    ]
    with Picky(rules=rules) as server:

        async def heard(g: Any) -> str:
            return "".join(
                [piece.text async for piece in g.stream([Message("system", "Be."), Message("user", "?")], Sampling())]
            )

        assert using(make(server.url), heard) == "ok"


def test_a_refusal_that_stays_is_told_in_its_own_words() -> None:
    always = [(lambda body: True, 400, openai_says("temperature is out of the question", "temperature"))]
    with Picky(rules=always) as server:
        assert "out of the question" in str(refused(make(server.url)))
        assert len(server.requests) == 2
    too_long = [
        (
            lambda body: True,
            400,
            openai_says("This model's maximum context length is 9 tokens, max_tokens 32", "max_tokens"),
        )
    ]
    with Picky(rules=too_long) as server:
        assert "too long" in str(refused(make(server.url))) and len(server.requests) == 1


def test_what_was_not_needed_is_not_kept() -> None:
    """A field is left out for good only where that helped."""
    rules = [(lambda body: "bad" in body["messages"][-1]["content"], 400, openai_says("no temperature in this text"))]
    with Picky(rules=rules) as server:
        generator = make(server.url, max_retries=0)
        refused(generator, lambda g: g.generate([Message("user", "bad")], Sampling()))
        assert ask(generator).text == "ok" and server.requests[-1]["temperature"] == 0.0


def test_settings_say_what_is_sent() -> None:
    settings = GeneratorConfig(
        request={"extra_body": {"top_k": 1}, "drop": ["seed"], "rename": {"max_tokens": "max_completion_tokens"}},
        chat_template_kwargs={"enable_thinking": False},
        system_prompt="fold",
        thinking_tokens=500,
    )
    with OpenAIServer() as server:
        ask(make(server.url, settings=settings))
        [body] = server.requests
    assert body["top_k"] == 1 and "seed" not in body and body["max_completion_tokens"] == 532
    assert body["chat_template_kwargs"] == {"enable_thinking": False} and [m["role"] for m in body["messages"]] == [
        "user"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"request": {"extra_body": {"top_k": 1}}},
        {"request": {"drop": ["seed"]}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"system_prompt": "fold"},
        {"reasoning": "none"},
        {"thinking_tokens": 9},
    ],
)
def test_each_of_them_decides_replies(change: dict[str, Any]) -> None:
    plain, changed = load(), load(generator=change)
    assert generator_fingerprint(plain) != generator_fingerprint(changed)
    assert reply_fingerprint(plain) != reply_fingerprint(changed)
    assert reply_fingerprint(plain) == reply_fingerprint(
        load(generator={"max_model_len": 99, "engine": {"enforce_eager": True}})
    )


def test_folding_alternates() -> None:
    turns = [("system", "a"), ("user", "b"), ("user", "c"), ("assistant", "d"), ("system", "e"), ("user", "f")]
    found = folded([{"role": role, "content": text} for role, text in turns])
    assert [(m["role"], m["content"]) for m in found] == [
        ("user", "a\n\nb\n\nc"),
        ("assistant", "d"),
        ("user", "e\n\nf"),
    ]

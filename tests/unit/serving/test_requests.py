"""Bodies of every kind: what is wrong is a 400 of one sentence, never a 5xx, never a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.support.serving import bench, browse

CHAT, SEARCH, FEEDBACK = "/v1/chat/completions", "/v1/search", "/v1/feedback"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Who?"}]}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = bench(tmp_path_factory.mktemp("gate"), max_body_bytes=20_000, max_question_chars=100).app
    with browse(app, raise_server_exceptions=False) as made:
        yield made


def refusal(client: TestClient, path: str, body: Any, status: int = 400) -> str:
    """The sentence that `body` (JSON, or bytes as they are) is refused with."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.post(path, content=sent, headers=JSON)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"]
    return str(error["message"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"temperature": -1}, "temperature: input should be greater than or equal to 0"),
        ({"temperature": 1e308}, "temperature: input should be less than or equal to 2"),
        ({"temperature": "0.5"}, "temperature: input should be a valid number"),
        ({"temperature": True}, "temperature: input should be a valid number"),
        ({"max_tokens": 0}, "max_tokens: input should be greater than or equal to 1"),
        ({"max_tokens": 10**7}, "max_tokens: input should be less than or equal to 1000000"),
        ({"max_tokens": 1.5}, "max_tokens: input should be a valid integer"),
        ({"max_completion_tokens": -5}, "max_completion_tokens: input should be greater"),
        ({"n": 2}, "n: input should be 1"),
        ({"seed": 2**63}, "seed: input should be less than"),
        ({"top_p": 1.5}, "top_p: input should be less than or equal to 1"),
        ({"stop": ["a"] * 5}, "stop: expected at most 4 strings"),
        ({"stop": ""}, "stop: expected at most 4 strings"),
        ({"logprobs": True}, "logprobs: input should be false"),
        ({"response_format": {"type": "json_object"}}, "response_format.type: input should be 'text'"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"stream": "yes"}, "stream: input should be a valid boolean"),
        ({"wbrag": {"top_k": 0}}, "wbrag.top_k: input should be greater"),
        ({"wbrag": []}, "wbrag: input should be"),
        ({"messages": []}, "messages: list should have at least 1 item"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "expected a user message of text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "expected text, found 'image_url'"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role: input should be"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "expected a question, found no text"),
        ({"messages": [{"role": "user", "content": "x" * 101}]}, "at most 100 characters"),
    ],
)
def test_an_absurd_chat_is_refused_by_its_fields_name(client: TestClient, more: dict[str, Any], said: str) -> None:
    assert said in refusal(client, CHAT, {**ASKED, **more})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"messages": NaN}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": -Infinity}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b'{"messages": [{"role": "user", "content": "x"}], "user": Infinity}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"max_tokens": ' + b"9" * 6000 + b"}",
        b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}",
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
    ],
)
def test_what_is_no_json_of_ours_is_a_400(client: TestClient, body: bytes) -> None:
    refusal(client, CHAT, body)


@pytest.mark.parametrize("path", [CHAT, SEARCH, FEEDBACK])
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_only_json_is_taken_so_that_no_foreign_form_can_send_it(client: TestClient, path: str, kind: str) -> None:
    reply = client.post(path, content=json.dumps(ASKED).encode(), headers={"content-type": kind})
    assert reply.status_code == 415


def test_a_body_is_bounded_with_and_without_a_length(client: TestClient) -> None:
    large = json.dumps({**ASKED, "user": "x" * 20_000}).encode()
    assert "at most 20000 bytes" in refusal(client, CHAT, large, 413)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000]

    assert client.post(CHAT, content=pieces(), headers=JSON).status_code == 413
    assert client.post(CHAT, content=b"{}", headers={**JSON, "content-length": "1" * 5000}).status_code == 413
    small = json.dumps({**ASKED, "user": "x" * 19_000}).encode()
    assert client.post(CHAT, content=iter([small]), headers=JSON).status_code == 200


def test_search_and_feedback_are_bounded_too(client: TestClient) -> None:
    assert "k: expected at most 20" in refusal(client, SEARCH, {"query": "x", "k": 21})
    assert "release: expected latest" in refusal(client, SEARCH, {"query": "x", "release": "r0001"})
    assert "query: field required" in refusal(client, SEARCH, {})
    assert "extra inputs" in refusal(client, SEARCH, {"query": "x", "depth": 3})
    good = {"request_id": client.post(SEARCH, json={"query": "x"}).json()["request_id"], "rating": 1}
    assert client.post(FEEDBACK, json=good).json() == good
    for bad in ({"rating": 0}, {"rating": "1"}, {"request_id": "a b"}, {"request_id": ""}, {"comment": "x" * 2001}):
        refusal(client, FEEDBACK, {**good, **bad})


def test_a_strange_request_id_is_replaced(client: TestClient) -> None:
    for strange in ("a b", "x" * 129, "<script>", '"', "a\tb"):
        assert client.get("/healthz", headers={"x-request-id": strange}).headers["x-request-id"] != strange
    assert client.get("/healthz", headers={"x-request-id": "trace-1:a.b"}).headers["x-request-id"] == "trace-1:a.b"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_turn = st.fixed_dictionaries(
    {}, optional={"role": st.sampled_from(["user", "system", "assistant"]) | _json, "content": _json}
)
_chat = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(_turn | _json, max_size=3) | _json | st.just(ASKED["messages"]),
        "model": st.sampled_from(["wbrag", "wbrag/naive", "wbrag/replug", "wbrag/"]) | _json,
        "wbrag": st.dictionaries(st.sampled_from(["method", "release", "task", "top_k"]), _json) | _json,
        **{
            name: _json
            for name in "temperature max_tokens n seed stop stream stream_options logprobs top_p tools user".split()
        },
    },
)


@settings(max_examples=150)
@given(path=st.sampled_from([CHAT, SEARCH, FEEDBACK]), body=_chat | _json | st.binary(max_size=40))
def test_no_body_makes_a_5xx(client: TestClient, path: str, body: Any) -> None:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    reply = client.post(path, content=sent, headers=JSON)
    assert reply.status_code in (200, 400, 404) and "Traceback" not in reply.text
    if reply.status_code != 200:
        assert reply.json()["error"]["message"]


@given(path=st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=30))
def test_no_address_makes_a_5xx(client: TestClient, path: str) -> None:
    from urllib.parse import quote

    assert client.get(f"/{quote(path)}").status_code in (200, 404, 405)

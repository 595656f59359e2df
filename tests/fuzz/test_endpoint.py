"""Whatever is sent to the endpoint, it answers: never with a 500, and never not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.support.desk import desk, two_releases, used, workspace
from tests.support.serving import browse

pytestmark = pytest.mark.fuzz
FIELDS = (
    "messages role content model stream temperature max_tokens max_completion_tokens seed stop stream_options n tools "
    "include_usage wbrag method task top_k release query k request_id rating comment type text user logprobs name"
).split()
words = st.text(max_size=20) | st.sampled_from(
    ["user", "system", "wbrag", "wbrag/flare", "latest", "none", "qa", "\x00"]
)
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
value = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | words, inner, max_size=5),
    max_leaves=15,
)
turn = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool"]) | words, "content": value}
)
chat = st.fixed_dictionaries(
    {"messages": st.lists(turn, max_size=3)},
    optional={name: value for name in FIELDS if name not in ("messages", "role", "content")},
)
bodies = st.one_of(chat, value, st.fixed_dictionaries({"query": words}, optional={"k": value, "release": value}))
PATHS = ["/v1/chat/completions", "/v1/search", "/v1/feedback"]
DESK = [
    "/desk/decide",
    "/desk/login",
    "/desk/logout",
    "/desk/ask",
    "/desk/releases/publish",
    "/desk/releases/r0001/rollback",
]
GETS = (
    "/v1/models/{} /desk/units/{} /desk/static/{}/{} /desk/releases/{}/rollback /desk?state={}&page={} /desk?q={} /{} "
    "/desk/releases?page={} /desk/releases/compare?before={}&after={} /desk/login?back={}"
).split()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = workspace(tmp_path_factory.mktemp("w"))
    two_releases(store)
    used(store)
    with browse(desk(store).app, raise_server_exceptions=False) as found:
        yield found


@given(path=st.sampled_from(PATHS), body=bodies)
def test_bodies_of_any_shape(client: TestClient, path: str, body: Any) -> None:
    reply = client.post(path, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
    assert reply.status_code < 500, reply.text
    assert reply.status_code == 200 or "error" in reply.json()


@given(
    path=st.sampled_from(PATHS + DESK),
    raw=st.binary(max_size=300),
    kind=st.sampled_from(["application/json", "text/plain"]),
)
def test_bytes_of_any_kind(client: TestClient, path: str, raw: bytes, kind: str) -> None:
    assert client.post(path, content=raw, headers={"content-type": kind}).status_code < 500


@given(path=st.sampled_from(DESK), fields=st.dictionaries(words, words, max_size=5), multipart=st.booleans())
def test_forms_of_any_shape(client: TestClient, path: str, fields: dict[str, str], multipart: bool) -> None:
    sent = {"files": {k or "a": (None, v) for k, v in fields.items()}} if multipart else {"data": fields}
    try:
        reply = client.post(path, **sent, follow_redirects=False)  # type: ignore[arg-type]
    except (UnicodeError, ValueError):  # what no client can send
        return
    assert reply.status_code < 500, reply.text


@given(path=st.sampled_from(GETS), parts=st.lists(words, min_size=2, max_size=2), header=words)
def test_addresses_of_any_kind(client: TestClient, path: str, parts: list[str], header: str) -> None:
    try:
        reply = client.get(path.format(*parts), headers={"x-request-id": header, "x-request-timeout": header})
    except Exception as error:
        assert type(error).__module__.startswith(("httpx", "builtins")), error  # what no client can send
        return
    assert reply.status_code < 500, (path, parts, reply.text)

"""What proxies, probes and browsers ask: HEAD, a path below which the gateway lies, other origins."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from starlette.testclient import TestClient

from tests.support.desk import PAGES, DeskBench, desk, opened, two_releases, used, workspace
from wbrag.serving.keys import Keys

ORIGIN = "https://chat.example.org"
LINK = re.compile(r'(?:href|src|action|hx-get|hx-post)="(/[^"]*)"')


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = workspace(tmp_path_factory.mktemp("front"), others=60)
    two_releases(store)
    used(store)
    assert isinstance(store.path, Path)
    return store.path


def bench(folder: Path, **serving: Any) -> DeskBench:
    store = opened(folder)
    config = store.config.model_copy(update={"serving": store.config.serving.model_copy(update=serving)})
    store.layout.config = config
    return desk(store)


@pytest.fixture
def client(made: Path) -> Iterator[TestClient]:
    with TestClient(bench(made).app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as found:
        yield found


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/models/", "/desk", "/nowhere"])
def test_a_head_is_the_get_without_its_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code and head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]


def test_pages_below_a_prefix_link_below_it(made: Path, tmp_path: Path) -> None:
    key = Keys(made).add("ana", "admin")
    try:
        for app, sent, asked in (
            (bench(made).app, {"x-forwarded-prefix": "/rag"}, ""),
            (bench(made, root_path="/rag/").app, {}, "/rag"),
        ):
            with TestClient(app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as client:
                client.headers.update(sent)
                login = client.get(f"{asked}/desk", follow_redirects=False)
                assert login.headers["location"].startswith("/rag/desk/login?back=%2Fdesk")
                form = client.get(f"{asked}/desk/login").text
                [token, *_] = re.findall(r'name="csrf" value="([^"]+)"', form)
                sent_back = {"csrf": token, "key": key, "back": "/rag/desk/review"}
                inside = client.post(f"{asked}/desk/login", data=sent_back, follow_redirects=False)
                assert inside.headers["location"] == "/rag/desk/review"
                for page in PAGES:
                    links = LINK.findall(client.get(f"{asked}{page}").text)
                    assert links and all(link.startswith("/rag/desk") for link in links), page
    finally:
        Keys(made).remove("ana")


@pytest.mark.parametrize("given", ["//evil.example", "/a/../b", "/a?b", "http://x", "/<script>", "/" + "a" * 65])
def test_a_prefix_that_is_no_path_is_not_taken(made: Path, given: str) -> None:
    key = Keys(made).add("eve", "admin")
    try:
        with TestClient(bench(made).app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as client:
            client.headers.update({"x-forwarded-prefix": given, "authorization": f"Bearer {key}"})
            page = client.get("/desk/review")
            assert all(link.startswith("/desk") for link in LINK.findall(page.text))
    finally:
        Keys(made).remove("eve")


def test_origins_that_the_operator_names_may_ask_the_api_and_nothing_else(made: Path) -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    asked |= {"access-control-request-headers": "authorization,content-type"}
    with TestClient(bench(made, cors_origins=(ORIGIN,)).app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as c:
        allowed = c.options("/v1/chat/completions", headers=asked)
        assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in allowed.headers
        models = c.get("/v1/models", headers={"origin": ORIGIN})
        assert models.headers["access-control-allow-origin"] == ORIGIN
        other = c.options("/v1/chat/completions", headers=asked | {"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        for path in ("/desk", "/metrics", "/healthz"):
            assert "access-control-allow-origin" not in c.get(path, headers={"origin": ORIGIN}).headers
    with TestClient(bench(made).app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as c:
        assert "access-control-allow-origin" not in c.options("/v1/chat/completions", headers=asked).headers


def chat(client: TestClient, content: Any, **more: Any) -> Any:
    body = {"model": "wbrag", "messages": [{"role": "user", "content": content}], **more}
    return client.post("/v1/chat/completions", json=body)


def test_parts_of_text_are_read_and_others_refused_by_name(client: TestClient) -> None:
    text = {"type": "text", "text": "Who designed the Corvane gauge?"}
    assert chat(client, [text]).status_code == 200
    assert chat(client, "Who designed the Corvane gauge?", top_p=0).status_code == 200
    for part in ({"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "input_audio"}, {}):
        refused = chat(client, [text, part])
        assert refused.status_code == 400 and refused.json()["error"]["param"] == "messages"
        assert repr(part.get("type", "part without text")) in refused.json()["error"]["message"]
    for odd in (7, {"text": "x"}, [["x"]]):
        assert "expected text or a list of parts" in chat(client, odd).json()["error"]["message"]


def test_a_stream_begins_at_once_and_is_never_idle_for_long(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wbrag.serving.api.streams.FIRST_S", 0.02)
    monkeypatch.setattr("wbrag.serving.api.streams.ALIVE_S", 0.02)
    slow = bench(made)
    slow.generator.pause_s = 0.3
    asked = {"model": "wbrag", "stream": True, "messages": [{"role": "user", "content": "Who designed the gauge?"}]}
    with TestClient(slow.app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as client:
        with client.stream("POST", "/v1/chat/completions", json=asked) as reply:
            lines = [line for line in reply.iter_lines() if line]
        assert '"role":"assistant"' in lines[0] and lines[1] == ": still working" and lines[-1] == "data: [DONE]"
        said = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert "".join(c["delta"].get("content") or "" for e in said for c in e["choices"]) == "Ada Thorn"
        slow.generator.pause_s = 0.0
        over = chat(client, "x" * 5000, stream=True)
        assert over.status_code == 400, "what fails at once has its status"


def test_what_is_asked_about_the_conversation_is_not_searched_for_and_leaves_no_row(made: Path, tmp_path: Path) -> None:
    found = bench(Path(shutil.copytree(made, tmp_path / "w")))
    title = "### Task:\nWrite a title.\n### Output:\nJSON\n<chat_history>\n" + "USER: the gauge " * 2000
    with TestClient(found.app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as client:
        before = len(found.store.usage.served())
        reply = chat(client, title).json()
        assert (reply["wbrag"]["hits"], reply["wbrag"]["method"]) == ([], "none")
        assert reply["wbrag"]["cost"]["retrievals"] == 0 and reply["wbrag"]["cost"]["calls"] == 1
        assert found.generator.calls[-1].prompt[-1].content.startswith("### Task:"), "the model reads it as it is"
        streamed = chat(client, title, stream=True).text
        assert reply["choices"][0]["message"]["content"] in streamed and streamed.endswith("data: [DONE]\n\n")
        assert chat(client, "Who designed the gauge?").status_code == 200
    assert len(found.store.usage.served()) == before + 1, "one row, of the question"


def test_the_encoders_vectors_as_openai_gives_them(client: TestClient) -> None:
    asked = {"model": "encoder", "input": ["one", "two", "three"]}
    plain = client.post("/v1/embeddings", json=asked).json()
    assert [entry["index"] for entry in plain["data"]] == [0, 1, 2] and plain["object"] == "list"
    packed = client.post("/v1/embeddings", json=asked | {"encoding_format": "base64"}).json()
    vectors = [np.frombuffer(base64.b64decode(entry["embedding"]), "<f4").tolist() for entry in packed["data"]]
    assert vectors == [entry["embedding"] for entry in plain["data"]]
    assert len(client.post("/v1/embeddings", json={"input": "one", "input_type": "query"}).json()["data"]) == 1
    for wrong, said in (({"input": []}, "input"), ({"input": " "}, "input"), ({"dimensions": 3}, "dimensions")):
        refused = client.post("/v1/embeddings", json=asked | wrong)
        assert refused.status_code == 400 and refused.json()["error"]["param"] == said
    assert client.post("/v1/embeddings", json=asked | {"model": "text-embedding-3"}).status_code == 404
    with openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=client) as real:  # type: ignore[arg-type]
        found = real.embeddings.create(model="encoder", input=["one", "two"])
        assert len(found.data) == 2 and len(found.data[0].embedding) == 8

"""Roles, foreign hosts, proxies and lost keys, and what every response carries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends
from starlette.responses import PlainTextResponse, Response

from tests.support.gateways import app_of
from tests.support.serving import bench, browse
from wbrag.core.errors import UsageError, WbragError
from wbrag.serving.auth import require
from wbrag.serving.keys import Keys, check_bind, is_loopback

CHAT = {"messages": [{"role": "user", "content": "Who?"}]}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.mark.parametrize(
    "text", ["{}", "[1]", "oops", '[{"name": "a", "role": "king", "sha256": "", "created_at": ""}]']
)
def test_a_broken_keys_file_opens_nothing(keys: Keys, tmp_path: Path, text: str) -> None:
    keys.path.write_text(text)
    if text != "{}":  # an empty mapping reads as an empty list
        with pytest.raises(WbragError, match="expected a list of keys"):
            keys.all()
    with browse(app_of(tmp_path / "other")) as client:
        (tmp_path / "other" / "keys.json").write_text("oops")
        assert client.get("/v1/models").status_code == 500


def test_only_loopback_may_be_bound_without_keys(keys: Keys, tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.9.1"):
        check_bind(host, False, keys)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.example.org", "127.0.0.1.example.org"):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="wbrag keys add"):
            check_bind(host, False, keys)
    with pytest.raises(UsageError, match="expected keys"):
        bench(tmp_path, host="0.0.0.0")
    with pytest.raises(UsageError, match=r"behind a proxy \(serving.https\), found none: run `wbrag keys add"):
        bench(tmp_path / "b", https=True)
    keys.add("ada", "admin")
    check_bind("0.0.0.0", True, keys)


def test_open_on_loopback_everyone_is_admin_but_foreign_names_are_refused(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    with browse(app, "127.0.0.1") as client:
        assert client.get("/desk/page").json()["role"] == "admin"
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
            assert client.get("/healthz", headers={"host": host}).status_code == 200
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "localhost@evil.example"):
            reply = client.post("/v1/chat/completions", json=CHAT, headers={"host": host})
            assert reply.status_code == 403 and "localhost" in reply.json()["error"]["message"]


@pytest.mark.parametrize("peer", ["192.168.1.5", "10.0.0.7", "2001:db8::1", "testclient"])
def test_without_keys_nobody_else_gets_in_whatever_is_bound(tmp_path: Path, peer: str) -> None:
    app = app_of(tmp_path)  # set to 127.0.0.1, but its host may have bound another address
    with browse(app, peer=peer) as client:
        assert client.get("/desk/page").status_code == client.get("/v1/models").status_code == 401
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 401
        assert client.get("/healthz").status_code == 200
    with browse(app_of(tmp_path / "b"), peer="::1") as client:
        assert client.get("/desk/page").json()["role"] == "admin"
    assert not app.state.guard.open_to(None)


@pytest.mark.parametrize(
    "header",
    ["X-Real-IP", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "Via", "CF-Connecting-IP", "X-Envoy-Peer"],
)
def test_without_keys_nobody_gets_in_through_a_proxy(tmp_path: Path, keys: Keys, header: str) -> None:
    with browse(app_of(tmp_path), "127.0.0.1") as client:
        assert client.get("/desk/page").status_code == 200
        refused = client.get("/desk/page", headers={header: "1.2.3.4"})
        assert refused.status_code == 403 and f"({header.lower()}): set keys" in refused.json()["error"]["message"]
        bearer = {"authorization": f"Bearer {keys.add('ada', 'admin')}"}
        assert client.get("/v1/models", headers={header: "1.2.3.4", **bearer}).status_code == 200


@pytest.mark.parametrize("lose", [lambda keys: keys.path.unlink(), lambda keys: keys.remove("ada")])
def test_losing_the_keys_opens_nothing(tmp_path: Path, keys: Keys, lose: Any) -> None:
    keys.add("ada", "admin")
    app = app_of(tmp_path)
    with browse(app, "127.0.0.1") as client:
        assert client.get("/v1/models").status_code == 401
        lose(keys)
        assert client.get("/v1/models").status_code == client.get("/desk/page").status_code == 401
        again = {"authorization": f"Bearer {keys.add('bob', 'admin')}"}
        assert client.get("/v1/models", headers=again).status_code == 200


def test_with_keys_everything_needs_one(tmp_path: Path, keys: Keys) -> None:
    reader = keys.add("ada", "reader")
    with browse(app_of(tmp_path, host="0.0.0.0"), "gate.example") as client:
        for path in ("/v1/models", "/metrics", "/openapi.json", "/desk/page"):
            refused = client.get(path)
            assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
            assert refused.json()["error"]["type"] == "authentication_error"
        for path in ("/v1/chat/completions", "/v1/search", "/v1/feedback"):
            # before the body is looked at
            assert client.post(path, content=b"{{{", headers={"content-type": "application/json"}).status_code == 401
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        for wrong in ("Bearer wbrag-wrong", "Bearer ", f"Basic {reader}", reader, "Bearer \u00e9"):
            assert client.get("/v1/models", headers={"authorization": wrong.encode("latin-1")}).status_code == 401
        bearer = {"authorization": f"Bearer {reader}"}
        assert client.post("/v1/chat/completions", json=CHAT, headers=bearer).status_code == 200
        assert client.get("/metrics", headers=bearer).status_code == 200
        keys.remove("ada")
        # not open again: others can reach this address
        assert client.get("/v1/models", headers=bearer).status_code == 401


def test_roles_include_the_lower_ones(tmp_path: Path, keys: Keys) -> None:
    tokens = {role: keys.add(role, role) for role in ("reader", "reviewer", "admin")}
    app = app_of(tmp_path)

    @app.get("/desk/review", dependencies=[Depends(require("reviewer"))])
    async def review() -> Response:
        return PlainTextResponse("ok")

    with browse(app, "127.0.0.1") as client:
        statuses = {
            role: client.get("/desk/review", headers={"authorization": f"Bearer {token}"}).status_code
            for role, token in tokens.items()
        }
        assert statuses == {"reader": 403, "reviewer": 200, "admin": 200}


def test_every_response_carries_the_headers(tmp_path: Path, keys: Keys) -> None:
    bearer = {"authorization": f"Bearer {keys.add('ada', 'reader')}"}
    with browse(app_of(tmp_path, https=True), "127.0.0.1") as client:
        secure = client.get("/healthz").headers["strict-transport-security"]
        client.headers |= bearer
        kept = [client.post("/v1/chat/completions", json=CHAT), client.get("/nothing")]
    assert secure == "max-age=31536000" and [reply.status_code for reply in kept] == [200, 404]
    with browse(app_of(tmp_path / "open"), "127.0.0.1") as client:
        replies = [
            client.get("/healthz"),
            client.get("/nothing"),
            client.put("/v1/models"),
            client.post("/v1/chat/completions", json=CHAT),
            client.post("/v1/chat/completions", json={**CHAT, "stream": True}),
            client.post("/v1/chat/completions", content=b"x"),
            client.get("/healthz", headers={"host": "evil.example"}),
        ]
    assert [reply.status_code for reply in replies] == [200, 404, 405, 200, 200, 415, 403]
    for reply in [*kept, *replies]:
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "same-origin"
        assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])


def test_pages_may_draw_their_own_errors(tmp_path: Path, keys: Keys) -> None:
    keys.add("ada", "admin")
    app = app_of(tmp_path)
    app.state.page_error = lambda request, status, said: PlainTextResponse(f"page: {said}", status)

    @app.get("/desk/number")
    async def number(of: int) -> Response:
        return PlainTextResponse(str(of))

    with browse(app, "127.0.0.1") as client:
        assert client.get("/desk/page").text.startswith("page: a key is needed")
        assert (
            client.get("/desk/number?of=x").text
            == "page: of: input should be a valid integer, unable to parse string as an integer: correct it"
        )
        assert client.get("/desk/nothing").text == "page: there is nothing at this address"
        assert "error" in client.get("/v1/models").json()


def test_an_answer_is_rated_by_whoever_asked_for_it(tmp_path: Path, keys: Keys) -> None:
    """Nobody else's word counts, no made-up answer is rated, and no client chooses what an answer is called."""
    gate = bench(tmp_path)
    ada, eve = ({"authorization": f"Bearer {keys.add(name, 'reader')}"} for name in ("ada", "eve"))
    with browse(gate.app) as client:
        reply = client.post("/v1/chat/completions", json=CHAT, headers={**ada, "x-request-id": "mine"})
        assert reply.headers["x-request-id"] == "mine", "the client's own, for its logs"
        id = reply.json()["wbrag"]["request_id"]
        assert re.fullmatch("[0-9a-f]{32}", id) and reply.json()["id"] == f"chatcmpl-{id}"
        for who, rated, status in ((eve, id, 404), (ada, "mine", 404), (ada, id[::-1], 404), (ada, id, 200)):
            sent = client.post("/v1/feedback", json={"request_id": rated, "rating": -1}, headers=who)
            assert sent.status_code == status, (who, rated)
        again = client.post("/v1/chat/completions", json=CHAT, headers={**ada, "x-request-id": "mine"})
        assert again.json()["wbrag"]["request_id"] != id
    assert {name: word.by for name, word in gate.store.usage.ratings().items()} == {id: "ada"}

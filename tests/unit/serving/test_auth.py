"""Keys, roles, sessions, forged forms, foreign hosts, and what every response carries."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.testclient import TestClient

from tests.support.serving import ScriptedStream, Settled, TableLibrary, bench, browse
from wbrag.cli.main import main
from wbrag.core.config import load
from wbrag.core.errors import UsageError, WbragError
from wbrag.serving.api.app import create_app
from wbrag.serving.auth import check_csrf, csrf_token, login, logout, principal, require
from wbrag.serving.keys import Keys, check_bind, is_loopback, session_secret
from wbrag.units.layout import Layout

CHAT = {"messages": [{"role": "user", "content": "Who?"}]}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def app_of(folder: Path, **serving: Any) -> FastAPI:
    """A gateway with a few pages as the desk makes them."""
    return with_pages(bench(folder, **serving).app)


def replica_of(folder: Path) -> FastAPI:
    """Another gateway over the same workspace."""
    layout = Layout(config=load(workspace=str(folder)))
    generator = ScriptedStream(lambda messages, sampling: "Ada Thorn")
    return with_pages(create_app(layout, TableLibrary(), generator, Settled(layout.releases.get("latest"))))


def with_pages(app: FastAPI) -> FastAPI:
    @app.post("/desk/login")
    async def enter(request: Request) -> JSONResponse:
        found = login(request, str((await request.form())["key"]))
        return JSONResponse({"name": found and found.name, "csrf": csrf_token(request)}, 200 if found else 401)

    @app.post("/desk/logout", dependencies=[Depends(check_csrf)])
    async def leave(request: Request) -> JSONResponse:
        logout(request)
        return JSONResponse({})

    @app.get("/desk/page")
    async def page(request: Request) -> JSONResponse:
        who = principal(request)
        return JSONResponse({"name": who.name, "role": who.role, "csrf": csrf_token(request)})

    @app.post("/desk/publish", dependencies=[Depends(check_csrf), Depends(require("admin"))])
    async def publish() -> JSONResponse:
        return JSONResponse({"published": True})

    return app


def test_a_key_is_shown_once_and_kept_as_its_hash(keys: Keys) -> None:
    token = keys.add("ada", "reviewer")
    assert len(token) > 43 and token not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    found = keys.find(token)
    assert found is not None and (found.name, found.role) == ("ada", "reviewer")
    assert keys.find(token + "x") is None and keys.find("") is None and keys.find("\ud800") is None
    keys.add("bob", "admin")
    keys.remove("ada")
    assert keys.find(token) is None and [key.name for key in keys.all()] == ["bob"]


def test_another_process_sees_a_new_key_at_once(keys: Keys, tmp_path: Path) -> None:
    assert keys.all() == []
    token = Keys(tmp_path).add("ada", "reader")
    assert keys.find(token) is not None
    Keys(tmp_path).remove("ada")
    assert keys.find(token) is None


@pytest.mark.parametrize(("name", "role"), [("", "reader"), ("a b", "reader"), ("x" * 65, "reader"), ("ada", "king")])
def test_a_senseless_key_is_refused(keys: Keys, name: str, role: str) -> None:
    with pytest.raises(UsageError):
        keys.add(name, role)
    assert not keys.path.exists()


def test_a_name_is_used_once_and_an_unknown_one_is_named(keys: Keys) -> None:
    keys.add("ada", "reader")
    with pytest.raises(UsageError, match="'ada' in use"):
        keys.add("ada", "admin")
    with pytest.raises(UsageError, match="did you mean 'ada'"):
        keys.remove("ad")


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


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*line: str) -> Any:
        assert main(["keys", *line, "--workspace", str(tmp_path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    added = run("add", "--name", "ada", "--role", "reader")
    assert Keys(tmp_path).find(added["key"]) is not None
    assert [(key["name"], key["role"]) for key in run("list")] == [("ada", "reader")]
    assert run("remove", "ada") == {"removed": "ada"} and run("list") == []
    assert main(["keys", "add", "--name", "ada", "--role", "king", "--workspace", str(tmp_path)]) == 2


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


@pytest.fixture
def signed_in(tmp_path: Path, keys: Keys) -> Iterator[tuple[TestClient, str]]:
    """A browser with an admin's session, and its CSRF token."""
    token = keys.add("ada", "admin")
    with browse(app_of(tmp_path), "127.0.0.1") as client:
        entered = client.post("/desk/login", data={"key": f" {token} "})
        assert entered.status_code == 200
        yield client, entered.json()["csrf"]


def test_a_session_counts_for_pages_alone_and_ends_with_its_key(signed_in: tuple[TestClient, str], keys: Keys) -> None:
    client, _ = signed_in
    assert client.get("/desk/page").json()["name"] == "ada"
    assert client.get("/v1/models").status_code == 401  # no cookie moves the API
    keys.remove("ada")
    keys.add("ada", "admin")
    assert client.get("/desk/page").status_code == 401


def test_the_cookie_is_out_of_reach_of_scripts_and_foreign_pages(tmp_path: Path, keys: Keys) -> None:
    token = keys.add("ada", "admin")
    with browse(app_of(tmp_path, https=True), "127.0.0.1") as client:
        cookie = client.post("/desk/login", data={"key": token}).headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "secure" in cookie
        assert client.post("/desk/login", data={"key": "wrong"}).status_code == 401
        forged = re.sub(r"session=[^;]*", "session=eyJrZXkiOiAiYWRhIn0=.x.y", cookie.partition(";")[0])
        assert client.get("/desk/page", headers={"cookie": forged}).status_code == 401


def test_a_session_ends_however_often_its_cookie_was_signed_again(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = keys.add("ada", "admin")
    with browse(app_of(tmp_path), "127.0.0.1") as client:
        client.post("/desk/login", data={"key": token})
        assert client.get("/desk/page").status_code == 200
        now = time.time()
        monkeypatch.setattr("wbrag.serving.auth.time.time", lambda: now + 12.1 * 3600)
        assert client.get("/desk/page").status_code == 401


def test_a_change_needs_the_token_and_our_own_page(signed_in: tuple[TestClient, str]) -> None:
    client, csrf = signed_in
    publish = "/desk/publish"
    assert client.post(publish, data={"csrf": csrf}).status_code == 200
    assert client.post(publish, headers={"x-csrf-token": csrf}).status_code == 200
    ours = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
    assert client.post(publish, data={"csrf": csrf}, headers=ours).status_code == 200
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9"},
        {"origin": "null"},
    ):
        assert client.post(publish, data={"csrf": csrf}, headers=headers).status_code == 403
    for form in ({}, {"csrf": ""}, {"csrf": "x" + csrf}, {"csrf": "\u00e9"}):
        assert client.post(publish, data=form).status_code == 403
    assert client.post(publish, files={"csrf": ("a", b"b")}).status_code == 403
    client.post("/desk/logout", data={"csrf": csrf})
    assert client.post(publish, data={"csrf": csrf}).status_code == 403


def test_a_copy_of_the_cookie_dies_with_the_logout_at_every_replica(tmp_path: Path, keys: Keys) -> None:
    token = keys.add("ada", "admin")
    with browse(app_of(tmp_path), "127.0.0.1") as client, browse(replica_of(tmp_path), "127.0.0.1") as other:
        csrf = client.post("/desk/login", data={"key": token}).json()["csrf"]
        copy = {"cookie": f"wbrag_session={client.cookies['wbrag_session']}"}
        for app in (client, other):
            assert app.get("/desk/page", headers=copy).json()["name"] == "ada"
        client.post("/desk/logout", data={"csrf": csrf})
        for app in (client, other):
            assert app.get("/desk/page", headers=copy).status_code == 401
        assert client.post("/desk/login", data={"key": token}).status_code == 200
        assert client.get("/desk/page").json()["name"] == "ada"
        (tmp_path / "sessions_ended.json").write_text("{}oops")
        assert client.get("/desk/page").status_code == 500, "what cannot be read opens nothing"


def test_the_token_of_before_the_login_dies_with_it(tmp_path: Path, keys: Keys) -> None:
    token = keys.add("ada", "admin")
    with browse(app_of(tmp_path), "127.0.0.1") as client:
        before = client.post("/desk/login", data={"key": "wrong"}).json()["csrf"]
        client.post("/desk/login", data={"key": token})
        assert client.post("/desk/publish", data={"csrf": before}).status_code == 403


def test_the_session_secret_is_made_once_and_private(tmp_path: Path) -> None:
    secret = session_secret(tmp_path / "new")
    assert len(secret) == 64 and session_secret(tmp_path / "new") == secret
    [file] = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


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

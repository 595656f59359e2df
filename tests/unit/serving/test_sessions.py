"""Sessions of the pages: their cookies, their forms, and their end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.gateways import app_of, replica_of
from tests.support.serving import browse
from wbrag.serving.keys import Keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


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

"""Who may see and do what at the desk."""

from __future__ import annotations

import re
import socket

import httpx
import pytest
from starlette.testclient import TestClient

from tests.support.desk import (
    GOOD,
    PAGES,
    DeskBench,
    plain,
    post,
)
from tests.support.serving import served, until
from wbrag.serving.desk import pages
from wbrag.serving.desk.pages import static_version
from wbrag.serving.keys import Keys


@pytest.fixture
def keys(bench: DeskBench) -> dict[str, str]:
    made = Keys(bench.store.path)
    return {role: made.add(f"{role}-key", role) for role in ("reader", "reviewer", "admin")}


def enter(client: TestClient, key: str, back: str = "/desk") -> httpx.Response:
    [token] = re.findall(r'name="csrf" value="([^"]+)"', client.get("/desk/login").text)
    return client.post("/desk/login", data={"csrf": token, "key": key, "back": back})


def test_without_a_key_there_is_only_the_door(client: TestClient, keys: dict[str, str]) -> None:
    for path in PAGES:
        sent = client.get(path, follow_redirects=False)
        assert sent.status_code == 303 and sent.headers["location"].startswith("/desk/login?back=%2Fdesk")
    part = client.get(
        "/desk/usage/live", headers={"hx-request": "true", "hx-current-url": "http://localhost/desk/usage"}
    )
    assert part.status_code == 401 and part.headers["hx-redirect"] == "/desk/login?back=%2Fdesk%2Fusage"
    assert client.get(f"/desk/static/{static_version()}/desk.css").status_code == 200
    wrong = enter(client, "wbrag-guess")
    assert wrong.status_code == 401 and "This key is not known" in wrong.text
    assert str(enter(client, keys["reader"], "/desk/ask").url).endswith("/desk/ask")
    post(client, "/desk/logout")
    assert client.get("/desk", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("role", ["reader", "reviewer", "admin"])
def test_each_role_sees_and_may_what_is_its_own(
    bench: DeskBench, client: TestClient, keys: dict[str, str], role: str
) -> None:
    enter(client, keys[role])
    queue, unit, releases = (client.get(p).text for p in ("/desk", f"/desk/units/{GOOD.id}", "/desk/releases"))
    decides, publishes = role != "reader", role == "admin"
    for page in (queue, unit):
        assert ("data-decide" in page) == ('id="decide"' in page) == decides
    assert (">Publish<" in releases) == ("/rollback" in releases) == publishes
    decided = post(client, "/desk/decide", ids=[plain(1).id], state="approved")
    assert decided.status_code == (200 if decides else 403)
    assert client.get("/desk/releases/r0001/rollback").status_code == (200 if publishes else 403)
    for path, fields in (("/desk/releases/publish", {}), ("/desk/releases/r0001/rollback", {"seen": "r0002"})):
        sent = post(client, path, **fields)
        assert sent.status_code == (200 if publishes else 403)
        assert publishes or f"yours is a {role}" in sent.text
    asked = post(client, "/desk/ask", question="Who?", release="r0001")
    assert asked.status_code == (200 if decides else 403)
    assert ("r0001, " in client.get("/desk/ask").text) == decides
    assert post(client, "/desk/ask", question="Who?", release="r0002").status_code == 200
    for private in ("Question 2?", "Wrong year"):  # what users asked and said
        assert (private in unit) == decides
    if decides:
        assert f"{role}-key" in {decision.by for decision in bench.store.decisions.all()}


def test_a_slow_form_is_held_by_nobody_without_a_key_and_by_nobody_for_ever(
    bench: DeskBench, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies that never end: the key is looked at before them, and the door itself waits a bounded time."""

    def sent(port: int, path: str, cookie: str = "") -> str:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n{cookie}"
        head += "Content-Type: application/x-www-form-urlencoded\r\n\r\ncsrf=x&key="
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(head.encode())
            return connection.makefile("rb").readline().decode()

    with served(bench.app) as url:
        port = int(url.rpartition(":")[2])
        with httpx.Client(base_url=url) as browser:
            [token] = re.findall(r'name="csrf" value="([^"]+)"', browser.get("/desk/login").text)
            browser.post("/desk/login", data={"csrf": token, "key": keys["admin"]})
            cookie = f"Cookie: wbrag_session={browser.cookies['wbrag_session']}\r\n"
        monkeypatch.setattr(pages, "BODY_S", 0.3)  # once the login is through, which takes its time on a busy machine
        assert "303" in sent(port, "/desk/decide") and "303" in sent(port, "/desk/releases/publish")
        assert "408" in sent(port, "/desk/login") and "408" in sent(port, "/desk/decide", cookie)
        until(lambda: bench.app.state.service.admission.open == 0)  # else a drain would wait for it

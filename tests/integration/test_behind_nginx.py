"""A real nginx in front, as it comes and as docs/security.md says: nobody gets in without a key, everybody with one."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.desk import desk, two_releases, workspace
from tests.support.serving import served, until
from wbrag.serving.keys import Keys

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path(NGINX).is_file(), reason="no nginx here: apt install nginx-light"),
]
DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "security.md"
CHAT = {"model": "wbrag", "messages": [{"role": "user", "content": "Who designed the Corvane gauge?"}]}


@contextmanager
def nginx(folder: Path, location: str) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    folder.mkdir()
    paths = "".join(f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    server = f"server {{ listen 127.0.0.1:{port}; {location} }}"
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}} "
        f"http {{ access_log off; {paths} {server} }}"
    )
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), 20)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_as_it_comes_it_opens_nothing(tmp_path: Path) -> None:
    """It sends no header that says what it is: HTTP/1.0 tells, or else that its workers are another user's."""
    store = workspace(tmp_path / "w")
    two_releases(store)
    with served(desk(store).app) as url:
        assert httpx.get(f"{url}/v1/models").status_code == 200, "this user's own programs get in"
        for more in ("", "proxy_http_version 1.1;"):
            with nginx(tmp_path / f"nginx{len(more)}", f"location / {{ proxy_pass {url}; {more} }}") as address:
                for path in ("/v1/models", "/desk", "/desk/releases/r0001/rollback", "/metrics"):
                    assert httpx.get(f"{address}{path}").status_code == 403, (more, path)


def test_as_documented_it_serves_whoever_has_a_key(tmp_path: Path) -> None:
    [location] = re.findall(r"```nginx\n(.*?)```", DOCUMENTED.read_text(encoding="utf-8"), re.DOTALL)
    store = workspace(tmp_path / "w")
    two_releases(store)
    key = Keys(store.path).add("ada", "admin")
    bearer = {"authorization": f"Bearer {key}"}
    with (
        served(desk(store).app) as url,
        nginx(tmp_path / "n", location.replace("http://127.0.0.1:8000", url)) as address,
        httpx.Client(base_url=address, follow_redirects=True) as browser,
    ):
        assert browser.post("/v1/chat/completions", json=CHAT).status_code == 401
        assert browser.post("/v1/chat/completions", json=CHAT, headers=bearer).json()["choices"]
        with browser.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}, headers=bearer) as reply:
            assert "[DONE]" in "".join(reply.iter_text())
        [token] = re.findall(r'name="csrf" value="([^"]+)"', browser.get("/desk").text)
        entered = browser.post("/desk/login", data={"csrf": token, "key": key}, headers={"origin": address})
        assert entered.status_code == 200 and "r0002" in browser.get("/desk/releases").text

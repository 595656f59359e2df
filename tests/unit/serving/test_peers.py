"""Who is at the other end of a loopback connection: the user who runs the gateway, another one, or a proxy."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import bench, served
from wbrag.serving.peers import foreign, proxied
from wbrag.serving.socket_owner import owner

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
OTHER = os.geteuid() + 1
ASK = r"exec 3<>/dev/tcp/127.0.0.1/$1; printf 'GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n' >&3; head -n 1 <&3"


def table(folder: Path, *rows: tuple[str, str, str, int]) -> list[Path]:
    """The kernel's list of connections, with these: local end, remote end, state, user."""
    lines = [f"   {i}: {a} {b} {st} 0:0 00:0 0 {uid} 0 17 1\n" for i, (a, b, st, uid) in enumerate(rows)]
    (folder / "tcp").write_text(HEADER + "".join(lines))
    return [folder / "tcp", folder / "none"]


@pytest.mark.skipif(sys.byteorder != "little", reason="written down on a little-endian machine")
def test_the_owner_of_the_clients_end_counts(tmp_path: Path) -> None:
    ours = ("0100007F:C350", "0100007F:1F40", "01", os.geteuid())
    theirs = ("0100007F:C350", "0100007F:1F40", "01", OTHER)
    to_another_port = ("0100007F:C350", "0100007F:1F41", "01", OTHER)
    gone = ("0100007F:C350", "0100007F:1F40", "06", OTHER)
    listening = ("0100007F:1F40", "00000000:0000", "0A", os.geteuid())
    client, server = ("127.0.0.1", 50000), ("127.0.0.1", 8000)
    assert not foreign(client, server, table(tmp_path, ours, to_another_port, gone, listening))
    assert foreign(client, server, table(tmp_path, theirs)) and foreign(
        client, server, table(tmp_path, theirs, listening)
    )
    assert foreign(client, None, table(tmp_path, ours, to_another_port)), "unknown where to: any of them may be it"
    assert foreign(client, server, table(tmp_path, listening, gone)), "it sent a request, and left: nobody saw who"
    assert not foreign(client, server, table(tmp_path)), "nothing here listens: another machine's proxy saw that peer"
    assert not foreign(("testclient", 1), server, table(tmp_path, theirs))
    mapped = ("0000000000000000FFFF00000100007F:C350", "0000000000000000FFFF00000100007F:1F40", "01", OTHER)
    assert foreign(client, server, table(tmp_path, mapped))
    assert foreign(("::ffff:127.0.0.1", 50000), server, [tmp_path / "tcp"])
    six = ("00000000000000000000000001000000:C350", "00000000000000000000000001000000:1F40", "01", OTHER)
    assert foreign(("::1", 50000), server, table(tmp_path, six))


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
@pytest.mark.parametrize(("host", "to"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def test_the_kernel_says_who_holds_a_connection(host: str, to: str) -> None:
    """Of IPv4, of IPv6, and of IPv4 at a socket for both; and nothing of one that was closed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as server:
        client = socket.create_connection((to, server.getsockname()[1]))
        accepted, peer = server.accept()
        ends = peer[:2], accepted.getsockname()[:2]
        assert owner(*ends) == os.geteuid() and not foreign(*ends)
        client.close()
        assert owner(*ends) is None and foreign(*ends), "its user is not known any more"
        accepted.close()
    assert owner(("testclient", 1), ("127.0.0.1", 2)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user")
def test_who_sends_and_leaves_is_not_taken_for_root() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sends = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}; printf hello >&3"
        other = subprocess.Popen(["bash", "-c", sends], user=65534, cwd="/")
        accepted, peer = server.accept()
        assert other.wait(60) == 0
        assert foreign(peer, accepted.getsockname())
        accepted.close()


def test_what_proxies_say() -> None:
    assert proxied(["host", "x-forwarded-host"], "1.1") == "x-forwarded-host"
    assert proxied(["host", "user-agent"], "1.0") == "HTTP/1.0", "nginx's default"
    assert proxied(["host", "user-agent", "x-request-id", "x-csrf-token", "traceparent"], "1.1") == ""


def test_over_real_connections(tmp_path: Path) -> None:
    with served(bench(tmp_path).app) as url:
        port = int(url.rpartition(":")[2])
        assert _status(port, "HTTP/1.1") == 200
        assert _status(port, "HTTP/1.0") == 403, "as nginx hands a request on by default"
        if os.geteuid() == 0:
            asked = ["bash", "-c", ASK, "bash", str(port)]
            for user, status in ((0, "200"), (65534, "403")):
                found = subprocess.run(asked, user=user, capture_output=True, text=True, timeout=60, cwd="/")
                assert found.stdout.split()[1] == status, found.stderr


def test_probes_are_answered_whoever_asks(tmp_path: Path) -> None:
    with served(bench(tmp_path).app) as url:
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))
        for path in ("/healthz", "/readyz"):
            connection.request("GET", path, headers={"X-Forwarded-For": "10.1.1.1"})
            reply = connection.getresponse()
            assert reply.status == 200 and reply.read()
        connection.close()


def test_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    with served(bench(tmp_path).app) as url:
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))
        connection.request("GET", "/v1/models", headers={"X-Real-IP": "10.1.1.1"})
        reply = connection.getresponse()
        assert reply.status == 403
        assert json.loads(reply.read())["error"]["message"] == (
            "without keys nobody is answered through a proxy, and this came through one (x-real-ip): set keys"
        )
        connection.close()


def _status(port: int, version: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET /v1/models {version}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])

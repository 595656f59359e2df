"""Peers: whether a request came straight from a program of the user who runs the gateway, or through somebody's proxy.

A proxy on the same host has a loopback address as well. Most say what they are in a header; nginx as it comes says
nothing, but speaks HTTP/1.0 and runs as a user of its own, which the kernel's table of connections tells.
"""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from wbrag.serving import socket_owner

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # Linux; elsewhere headers alone tell
LIVE, LISTENS = "01|04|05|08", "0A"  # established, or closed on one side: a socket that still has an owner
SAID = frozenset(
    "forwarded via x-real-ip x-client-ip client-ip x-cluster-client-ip true-client-ip fastly-client-ip x-host "
    "x-azure-clientip x-appengine-user-ip x-proxyuser-ip wl-proxy-client-ip proxy-client-ip remote-addr".split()
)
PREFIXES = ("x-forwarded", "x-original-", "x-envoy-", "cf-", "x-amzn-", "x-proxy-", "x-arr-", "tailscale-")


def proxied(names: Iterable[str], http_version: str) -> str:
    """What shows that a proxy handed the request on, "" where nothing does; `names` are the headers', in lower case."""
    said = [name for name in names if name in SAID or name.startswith(PREFIXES)]
    return said[0] if said else "HTTP/1.0" if http_version == "1.0" else ""


def foreign(client: tuple[str, int], server: tuple[str, int | None] | None, tables: Iterable[Path] = TABLES) -> bool:
    """Whether another user's program of this machine holds the client's end of the connection.

    So does a connection that is gone already, where this machine listens at the server's end: whoever sent a request
    and left was not seen. False where nothing here listens there, as for a peer that another machine's proxy saw.
    """
    port = server[1] if server else None
    if server and port is not None and (user := socket_owner.owner(client, (server[0], port))) is not None:
        return user != os.geteuid()
    text = "".join(_read(table) for table in tables)
    owners = _owners(text, client, port)
    if port is not None and re.search(rf":{port:04X} [0-9A-F]+:0000 {LISTENS} ", text):
        return owners != {os.geteuid()}
    return bool(owners - {os.geteuid()})


def _read(table: Path) -> str:
    try:
        return table.read_text(encoding="ascii")
    except OSError:
        return ""


def _owners(text: str, client: tuple[str, int], port: int | None) -> set[int]:
    """The users that hold the client's end of a live connection to `port`."""
    try:
        ends = "|".join(f"{address}:{client[1]:04X}" for address in _in_hex(client[0]))
    except ValueError:
        return set()
    there = "[0-9A-F]{4}" if port is None else f"{port:04X}"
    rows = re.finditer(rf" (?:{ends}) [0-9A-F]+:{there} (?:{LIVE}) \S+ \S+ \S+ +(\d+) +\d+ (\d+)", text)
    return {int(row[1]) for row in rows if row[2] != "0"}  # without an inode nobody has it, and root is shown


def _in_hex(address: str) -> list[str]:
    """An address as the kernel writes it, words of 32 bits in the machine's own order; IPv4 also as IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    packed = [ip.packed] if ip.version == 6 else [ip.packed, bytes(10) + b"\xff\xff" + ip.packed]
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    packed += [mapped.packed] if mapped else []
    return ["".join(f"{word:08X}" for word in struct.unpack(f"={len(p) // 4}I", p)) for p in packed]

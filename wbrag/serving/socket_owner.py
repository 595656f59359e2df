"""Socket owner: the user who holds one end of a TCP connection of this machine, by one question to the kernel.

The tables below /proc/net say it too, but the kernel walks all its sockets to write them: milliseconds a request.
https://man7.org/linux/man-pages/man7/sock_diag.7.html
"""

from __future__ import annotations

import ipaddress
import socket
import struct

SOCK_DIAG, BY_FAMILY, REQUEST = 4, 20, 1
LIVE = {1, 4, 5, 8}  # established, or closed on one side: a socket that still has an owner
TIMEOUT_S = 1.0


def owner(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """The user of the live socket at `local` that is connected to `remote`; None where that is not told."""
    try:
        request = _request(local, remote)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, SOCK_DIAG) as kernel:
            kernel.settimeout(TIMEOUT_S)
            kernel.send(request)
            reply = kernel.recv(1024)
    except (AttributeError, OSError, ValueError):  # no Linux, a sandbox without it, or no address of this kind
        return None
    # the reply: a header of 16 bytes, family, state, two bytes, the socket's ends (48), three numbers, user, inode
    if len(reply) < 88 or struct.unpack_from("=H", reply, 4)[0] != BY_FAMILY or reply[17] not in LIVE:
        return None
    user, inode = struct.unpack_from("=II", reply, 80)
    return int(user) if inode else None  # one that was closed and has data on its way is nobody's, and root is shown


def _request(local: tuple[str, int], remote: tuple[str, int]) -> bytes:
    ends = [ipaddress.ip_address(host.partition("%")[0]) for host, _ in (local, remote)]
    if len({end.version for end in ends}) > 1:  # one of them is IPv4 seen by a socket for both
        ends = [ipaddress.IPv6Address(f"::ffff:{end}") if end.version == 4 else end for end in ends]
    family = socket.AF_INET if ends[0].version == 4 else socket.AF_INET6
    ports = struct.pack("!HH", local[1], remote[1])
    addresses = b"".join(end.packed.ljust(16, b"\0") for end in ends)
    anywhere, no_cookie = bytes(4), b"\xff" * 8
    asked = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ports + addresses + anywhere
    return struct.pack("=IHHII", 16 + len(asked) + 8, BY_FAMILY, REQUEST, 1, 0) + asked + no_cookie

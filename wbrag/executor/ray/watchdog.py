"""Head watchdog: ends this process, with the reason, once the cluster's head is gone.

Ray itself ends a driver a minute after its head is gone, and does not say so.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

import ray

GONE_S = 20.0  # without an answer; a cluster's state goes with its head, so there is nothing to wait for much longer
EVERY_S = 2.0


def watch_head(address: str) -> threading.Event:
    """End this process once nobody has answered at `address` (host:port) for `GONE_S`, until the returned event is set.

    No exception would do: whatever waits for Ray at that moment does not come back before Ray itself ends the process.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(address, over), name="wbrag-head", daemon=True).start()
    return over


def _watch(address: str, over: threading.Event) -> None:
    seen = time.monotonic()
    while not over.wait(EVERY_S) and ray.is_initialized():
        if _answers(address):
            seen = time.monotonic()
        elif time.monotonic() - seen > GONE_S and not over.is_set():
            sentence = f"expected the head of the Ray cluster at {address} to answer, found it gone for {GONE_S:.0f} s"
            print(f"wbrag: {sentence}; what was finished is kept, run it again", file=sys.stderr, flush=True)
            os._exit(1)


def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=EVERY_S).close()
    except OSError:
        return False
    return True

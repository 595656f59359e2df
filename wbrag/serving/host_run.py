"""`wbrag serve`: Ray and Serve brought up quietly, the application deployed, and taken down without losing work."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from types import FrameType
from typing import Any

import ray
from ray import serve

from wbrag.config import Config
from wbrag.errors import WbragError
from wbrag.hosts.failures import RAISED
from wbrag.hosts.quiet import quiet_start
from wbrag.progress import bar
from wbrag.serving.host import application
from wbrag.serving.keys import Keys, check_bind
from wbrag.store import Store

NAME = "wbrag"
LOGS = "/tmp/ray/session_latest/logs"
WATCH_S = 0.2
STARTED_S = 1800.0  # a model of hundreds of gigabytes is read in this time


def run(config: Config, *, progress: bool = True) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM, then finish what was begun; a second signal does not wait for it."""
    s, store = config.serving, Store(config=config)
    check_bind(s.host, Keys(store.path))
    store.base_row()  # without an index nothing need start
    _check_port(s.host, s.port)
    stop = threading.Event()
    with _cluster(config), _signals(stop):
        with bar("starting the endpoint", shown=progress) as update:
            _deploy(config, stop, update)
        if not stop.is_set():
            print(_welcome(config), file=sys.stderr, flush=True)
        stop.wait()
        stop.clear()
        began = time.monotonic()
        whole = _drain(config, stop)
    return {
        "stopped": "everything begun was finished" if whole else "unfinished requests were cut off",
        "seconds": round(time.monotonic() - began, 1),
    }


@contextmanager
def _cluster(config: Config) -> Iterator[None]:
    """Ray and Serve, until the block ends; a Serve that ran before goes on without this application."""
    address = config.ray.address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": "serve"}
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    try:
        with quiet_start():
            if address:
                ray.init(address=address, **quiet)
            else:
                ray.init(address="local", num_cpus=max(2, os.cpu_count() or 1), include_dashboard=False, **quiet)
    except Exception as error:  # a node that is slow to come up is a bare Exception
        reason = " ".join(str(error).split())[:200]
        raise WbragError(
            f"expected a Ray cluster at {address or 'this machine'}, found {reason}: check ray.address or the load"
        ) from None
    running = bool(address) and bool(serve.status().proxies)
    try:
        http = {"host": config.serving.host, "port": config.serving.port}
        with quiet_start():
            serve.start(
                proxy_location="EveryNode" if address else "HeadOnly",
                http_options=http,
                logging_config={"enable_access_log": False},
            )
        yield
    finally:
        with quiet_start():
            if running:
                serve.delete(NAME)
            else:
                serve.shutdown()
            ray.shutdown()


def _deploy(config: Config, stop: threading.Event, update: Any) -> None:
    """Returns when every replica is up, or when told to stop. Raises `WbragError` with why one did not come up."""
    with quiet_start():  # importing Ray's part for language models writes a line of its own
        app = application(config)
    serve.run_many([serve.RunTarget(app, name=NAME)], wait_for_applications_running=False)
    deadline = time.monotonic() + STARTED_S
    while not stop.wait(WATCH_S):
        found = serve.status().applications.get(NAME)
        if found is None:
            continue
        up = sum(deployment.status == "HEALTHY" for deployment in found.deployments.values())
        update(up, len(found.deployments) + 1)
        if found.status == "RUNNING" and _ready(config):
            return
        if found.status == "DEPLOY_FAILED" or time.monotonic() > deadline:
            raise _failed([found.message, *(d.message for d in found.deployments.values())])


def _failed(messages: list[str]) -> WbragError:
    """The root cause out of Serve's messages, which hold whole tracebacks."""
    raised = [(name, said) for name, said in RAISED.findall("\n".join(messages)) if not said.startswith("Traceback")]
    ours = [said for name, said in raised if name.startswith("wbrag.errors.")]
    if ours:
        return WbragError(ours[-1])
    found = ": ".join(raised[-1]) if raised else " ".join(" ".join(messages).split())[:300]
    return WbragError(f"expected the endpoint to start, found {found}; the logs in {LOGS} say more")


def _ready(config: Config) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.serving.host, config.serving.host)
    door = HTTPConnection(host, config.serving.port, timeout=5)
    try:
        door.request("GET", "/readyz")
        return door.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        door.close()


def _drain(config: Config, stop: threading.Event) -> bool:
    """Nothing new is taken; True once all is finished, False after `drain_s` or at a second signal."""
    answers: list[bool] = []

    def ask() -> None:
        with suppress(Exception):  # no gateway is up yet, or none any more: there is nothing to wait for
            gateways = serve.get_app_handle(NAME).broadcast("drain")
            answers.extend(gateways.results(timeout_s=config.serving.drain_s + 5, return_exceptions=True))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    while asking.is_alive() and not stop.is_set():
        asking.join(WATCH_S)
    return bool(answers) and all(answer is True for answer in answers)


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`, after Ray has put handlers of its own in place."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    kept = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise WbragError(
                f"expected to listen on {host}:{port}, found {error.strerror}: "
                "stop what runs there or choose another --serving.port"
            ) from None


def _welcome(config: Config) -> str:
    s = config.serving
    url = f"http://{f'[{s.host}]' if ':' in s.host else s.host}:{s.port}"
    store = Store(config=config)
    release = store.release(store.default_release(None)).id
    lines = {
        "API": f"{url}/v1",
        "desk": f"{url}/desk",
        "model": f"{config.generator.model} ({config.generator.backend})",
        "release": release,
        "logs": LOGS,
        "stop": "Ctrl-C, which lets running requests finish",
    }
    return "\n" + "\n".join(f"  {name:<8} {value}" for name, value in lines.items()) + "\n"

"""Server lifecycle: `wbrag serve` brings up Ray and Serve, deploys the application, and takes it down again.

The first signal lets what was begun finish, a second one does not; a Serve that ran before goes on.
"""

from __future__ import annotations

import json
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
from ray.serve.context import _get_global_client

from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.progress import bar
from wbrag.executor.ray.capacity import check, nodes, pending
from wbrag.executor.ray.failures import RAISED
from wbrag.executor.ray.quiet import quiet_start
from wbrag.executor.ray.session import gpus
from wbrag.serving.keys import Keys, check_bind
from wbrag.serving.ray.app import application, places
from wbrag.units.layout import Layout

NAME = "wbrag"
LOGS = "/tmp/ray/session_latest/logs"
WATCH_S = 0.2
STUCK_S = 120.0  # what has failed so long without any progress is not waited for any longer


def run(config: Config, *, progress: bool = True) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM, then finish what was begun; a second signal does not wait for it."""
    s, layout = config.serving, Layout(config=config)
    check_bind(s.host, s.https, Keys(layout.path))
    layout.base_row()  # without an index nothing need start
    _check_port(s.host, s.port)
    stop = threading.Event()
    with _cluster(config), _signals(stop):
        with bar("starting the endpoint", shown=progress) as update:
            _deploy(config, stop, update)
        if not stop.is_set():
            print(_welcome(config, _startup_status()[0]), file=sys.stderr, flush=True)
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
    http = {"host": config.serving.host, "port": config.serving.port}
    if running and (problem := _elsewhere(http)):
        ray.shutdown()
        raise WbragError(problem)
    try:
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


def _elsewhere(wanted: dict[str, Any]) -> str:
    """What is wrong where the Serve that runs listens at another address, which it keeps; "" where nothing is."""
    client = _get_global_client()
    found = {"host": client.http_config.host, "port": client.http_config.port} if client else wanted
    if found == wanted:
        return ""
    return (
        f"expected the Ray Serve that runs to listen on {wanted['host']}:{wanted['port']}, found it on "
        f"{found['host']}:{found['port']}: set --serving.host and --serving.port to these, or stop it"
    )


def _deploy(config: Config, stop: threading.Event, update: Any) -> None:
    """Returns when every replica is up, or when told to stop. Raises `WbragError` with why one did not come up."""
    with quiet_start():  # importing Ray's part for language models writes a line of its own
        app = application(config)
    check(places(config, gpus() > 0, connected=True)[1], nodes())
    serve.run_many([serve.RunTarget(app, name=NAME)], wait_for_applications_running=False)
    deadline = time.monotonic() + config.ray.start_timeout_s
    state, why, since = (0, ""), "", time.monotonic()
    while not stop.wait(WATCH_S):
        found = serve.status().applications.get(NAME)
        if found is None:
            continue
        up = sum(deployment.status == "HEALTHY" for deployment in found.deployments.values())
        update(up, len(found.deployments) + 1)
        if found.status == "RUNNING" and not (why := _unready(config)):
            return
        now = time.monotonic()
        if (up, why) != state:
            state, since = (up, why), now
        if found.status == "DEPLOY_FAILED" or (now > deadline and not why):
            waiting = f"; without a place are {named}" if (named := pending()) else ""
            raise _failed([found.message, *(d.message for d in found.deployments.values())], waiting)
        if now > deadline or (found.status == "RUNNING" and now - since > STUCK_S):
            error = _startup_status()[1]
            if error or now > deadline:
                raise WbragError(_waited(why, error))


def _failed(messages: list[str], waiting: str = "") -> WbragError:
    """The root cause out of Serve's messages, which hold whole tracebacks."""
    raised = [(name, said) for name, said in RAISED.findall("\n".join(messages)) if not said.startswith("Traceback")]
    ours = [said for name, said in raised if name.startswith("wbrag.core.errors.")]
    if ours:
        return WbragError(ours[-1])
    found = ": ".join(raised[-1]) if raised else " ".join(" ".join(messages).split())[:300] or "no word from Serve"
    return WbragError(f"expected the endpoint to start, found {found}{waiting}; the logs in {LOGS} say more")


def _waited(why: str, error: str) -> str:
    return f"expected the endpoint to be ready, found that {why}: {error or 'the logs in ' + LOGS + ' say more'}"


def _startup_status() -> tuple[str, str]:
    """The release that answers and what is wrong, as one gateway says it; ("", "") where none does."""
    with suppress(Exception):  # it is told, not needed
        found: tuple[str, str] = serve.get_app_handle(NAME).startup_status.remote().result(timeout_s=5)
        return found
    return "", ""


def _unready(config: Config) -> str:
    """Why no request is taken yet, as `/readyz` says it; "" where they are."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.serving.host, config.serving.host)
    connection = HTTPConnection(host, config.serving.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        return "" if reply.status == 200 else str(json.load(reply)["why"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return "the gateway does not answer"
    finally:
        connection.close()


def _drain(config: Config, stop: threading.Event) -> bool:
    """Nothing new is taken; True once all is finished, False after `drain_s` or at a second signal."""
    answers: list[bool] = []

    def ask() -> None:
        with suppress(Exception):  # no gateway is up yet, or none any more: there is nothing to wait for
            gateways = serve.get_app_handle(NAME).broadcast("drain")
            answers.extend(gateways.results(timeout_s=config.serving.drain_s + 5, return_exceptions=True))

    broadcasting = threading.Thread(target=ask, daemon=True)
    broadcasting.start()
    while broadcasting.is_alive() and not stop.is_set():
        broadcasting.join(WATCH_S)
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


def _welcome(config: Config, release: str) -> str:
    s = config.serving
    url = f"http://{f'[{s.host}]' if ':' in s.host else s.host}:{s.port}"
    lines = {
        "API": f"{url}/v1",
        "desk": f"{url}/desk",
        "model": f"{config.generator.model} ({config.generator.backend})",
        "release": release,
        "logs": LOGS,
        "stop": "Ctrl-C, which lets running requests finish",
    }
    return "\n" + "\n".join(f"  {name:<8} {value}" for name, value in lines.items() if value) + "\n"

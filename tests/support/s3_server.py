"""A real S3 server on a free port of this machine (moto's), which can be told to fail or to be slow."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.client import HTTPConnection
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "wbrag-test"
ERROR = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
AT_ONCE = {  # delta-rs tries again as often as ever, but waits next to nothing
    "max_retries": "8",
    "retry_timeout": "60s",
    "backoff_config.init_backoff": "1ms",
    "backoff_config.max_backoff": "5ms",
}
Fault = Callable[[str, str], int | float | None]


class S3Server:
    """`fault(method, path)` may give a status to answer with (500, 503), or seconds to wait before the answer (0.5)."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.fault: Fault | None = None
        self.requests: list[tuple[str, str]] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs, in this process or in another."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.host}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __enter__(self) -> S3Server:
        self._thread.start()
        connection = HTTPConnection(self.host)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        connection.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def use(self, monkeypatch: Any) -> None:
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def _answer(self, environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        wrong = self.fault(method, path) if self.fault else None
        if wrong is not None and wrong >= 100:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{wrong} Wrong", [("Content-Type", "application/xml")])
            return [ERROR]
        time.sleep(wrong or 0)
        return self._app(environ, start)


def child_environment(server: S3Server, cache: os.PathLike[str]) -> dict[str, str]:
    """For a child process, with a cache of its own."""
    return {**os.environ, **server.environment, "XDG_CACHE_HOME": os.fspath(cache)}

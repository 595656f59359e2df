"""A stand-in for Elasticsearch: the few calls that LangChain's store makes, answered from vectors that it was given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


class Handler(BaseHTTPRequestHandler):
    kept: dict[str, dict[str, Any]]

    def do_GET(self) -> None:
        self._reply({"version": {"number": "8.19.3", "build_flavor": "default"}, "tagline": "You Know, for Search"})

    def do_HEAD(self) -> None:
        self._reply({}, 404)

    def do_POST(self) -> None:  # bulk comes by PUT
        lines = self._body()
        if "_search" in self.path:
            self._reply(self._found(lines[0]))
        elif "_bulk" in self.path:
            actions = list(zip(lines[::2], lines[1::2], strict=True))
            self.kept |= {action["index"]["_id"]: source for action, source in actions}
            items = [{"index": {"_id": action["index"]["_id"], "status": 201}} for action, _ in actions]
            self._reply({"took": 1, "errors": False, "items": items})
        else:
            self._reply({"acknowledged": True, "shards_acknowledged": True, "index": "notes"})

    do_PUT = do_POST

    def _found(self, asked: dict[str, Any]) -> dict[str, Any]:
        knn = asked["knn"]
        query = np.array(knn["query_vector"])
        scored = sorted(((1 + float(query @ s[knn["field"]])) / 2, id) for id, s in self.kept.items())[::-1]
        hits = [
            {"_index": "notes", "_id": id, "_score": score, "_source": self.kept[id]}
            for score, id in scored[: min(knn["k"], asked.get("size", 10))]
        ]
        shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
        return {"took": 1, "timed_out": False, "_shards": shards, "hits": {"hits": hits}}

    def _body(self) -> list[dict[str, Any]]:
        text = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        return [json.loads(line) for line in text.splitlines() if line]

    def _reply(self, body: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


@contextmanager
def elasticsearch() -> Iterator[str]:
    kept: dict[str, dict[str, Any]] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"kept": kept}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()

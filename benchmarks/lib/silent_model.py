"""An OpenAI-compatible endpoint that says one word, for what is measured without a model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MESSAGE = {"role": "assistant", "content": "yes"}
USED = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
REPLY = {"object": "chat.completion", "id": "1", "created": 0, "model": "silent", "usage": USED}
REPLY |= {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        body = json.dumps(REPLY if self.command == "POST" else {"object": "list", "data": [{"id": "silent"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def silent_model() -> Iterator[str]:
    """Its base URL, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()

"""A stand-in for the Hugging Face hub: datasets with commits, as `huggingface_hub` and `datasets` ask for them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Hub:
    """`commits[name][sha]` are the files of a dataset; `branches[name][branch]` the newest commit of a branch."""

    url: str = ""
    token: str = ""  # one that must be sent to write
    private: dict[str, bool] = field(default_factory=dict)
    commits: dict[str, dict[str, Files]] = field(default_factory=dict)
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, name: str, files: Files, branch: str = "main") -> str:
        """The sha of a commit that adds `files` to what the branch has."""
        branches = self.branches.setdefault(name, {})
        before = self.commits.setdefault(name, {}).get(branches.get(branch, ""), {})
        whole = before | files
        sha = hashlib.sha1(repr(sorted(whole.items())).encode()).hexdigest()
        self.commits[name][sha], branches[branch] = whole, sha
        return sha

    def sha(self, name: str, revision: str) -> str | None:
        known = self.commits.get(name, {})
        sha = self.branches.get(name, {}).get(revision, revision)
        return sha if sha in known else None


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*found.groups())
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", path):
            files = self._files(*found.groups())
            self._reply(404, {}) if files is None else self._reply(200, [_entry(*file) for file in files.items()])
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._info(found[1], found[2] or "main")
        else:
            self._reply(404, {"error": "not found"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.rfile.read(int(self.headers.get("content-length") or 0))
        writes = not path.endswith("/paths-info/") and "paths-info" not in path
        if writes and self.hub.token and self.headers.get("authorization") != f"Bearer {self.hub.token}":
            self._reply(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.hub.private.setdefault(name, bool(asked.get("private") or asked.get("visibility") == "private"))
            self.hub.branches.setdefault(name, {}) or self.hub.commit(name, {})
            self._reply(200, {"url": f"{self.hub.url}/datasets/{name}"})
        elif found := re.fullmatch(r"/api/datasets/(.+)/branch/([^/]+)", path):
            self.hub.commit(found[1], {}, found[2])
            self._reply(200, {})
        elif found := re.fullmatch(r"/api/datasets/(.+)/preupload/([^/]+)", path):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self._reply(200, {"files": files})
        elif found := re.fullmatch(r"/api/datasets/(.+)/commit/([^/]+)", path):
            lines = [json.loads(line) for line in body.splitlines()]
            self.hub.messages += [one["value"]["summary"] for one in lines if one["key"] == "header"]
            files = {
                one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
            }
            sha = self.hub.commit(found[1], files, found[2])
            url = f"{self.hub.url}/datasets/{found[1]}/commit/{sha}"
            self._reply(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})
        elif found := re.fullmatch(r"/api/datasets/(.+)/paths-info/([^/]+)", path):
            files = self._files(found[1], found[2]) or {}
            text = body.decode()
            wanted = json.loads(text)["paths"] if text.startswith("{") else re.findall(r"paths=([^&]*)", unquote(text))
            self._reply(200, [_entry(name, files[name]) for name in wanted if name in files])
        else:
            self._reply(404, {"error": "not found"})

    def _files(self, name: str, revision: str) -> Files | None:
        sha = self.hub.sha(name, revision)
        return None if sha is None else self.hub.commits[name][sha]

    def _info(self, name: str, revision: str) -> None:
        files = self._files(name, revision)
        if files is None:
            self._reply(404, {"error": "Repository not found"})
            return
        siblings = [{"rfilename": file} for file in files]
        told = {"id": name, "sha": self.hub.sha(name, revision), "siblings": siblings, "private": False, "tags": []}
        self._reply(200, told | {"downloads": 0, "likes": 0, "gated": False, "disabled": False})

    def _file(self, name: str, revision: str, path: str) -> None:
        files = self._files(name, revision) or {}
        if path not in files:
            self._reply(404, {}, {"x-error-code": "EntryNotFound"})
            return
        sha = self.hub.sha(name, revision) or ""
        etag = hashlib.sha1(files[path]).hexdigest()
        self._reply(200, files[path], {"etag": f'"{etag}"', "x-repo-commit": sha})

    def _reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if (span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")) and status == 200:
            last = int(span[2]) if span[2] else len(content) - 1
            headers = {**(headers or {}), "content-range": f"bytes {span[1]}-{last}/{len(content)}"}
            status, content = 206, content[int(span[1]) : last + 1]
        self.send_response(status)
        self.send_header("content-type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("content-length", str(len(content)))
        for header, value in (headers or {}).items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def hub() -> Iterator[Hub]:
    kept = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"hub": kept}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()

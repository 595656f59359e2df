"""HTTP store: search, passages and units of a store behind JSON endpoints.

`POST {"queries": [...], "k": 5}` gives `{"hits": [[{"id", "title", "text", "score"}]]}`. A reply is validated before
it is used, and bounded in bytes and in seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.http import read_key, retry_after_s
from wbrag.core.model_sections import Section
from wbrag.core.sections import RetrieverConfig
from wbrag.core.types import Hit, Origin, Passage
from wbrag.retrieval.external import EmbeddedUnit, Held, NamedRelease
from wbrag.retrieval.external.options import read_options
from wbrag.retrieval.external.retry import TransientError, with_retries

Reply = TypeVar("Reply", bound=BaseModel)


class HttpOptions(Section):
    url: str = Field(description="where to POST queries")
    passages_url: str | None = Field(None, description="where to POST ids, for passages as they are now")
    units_url: str | None = Field(None, description="where units are put: GET what is held, POST changes")
    key_env: str | None = Field(None, description="name of the environment variable that holds a key")
    header: str = Field("Authorization", description="header that carries the key; Authorization gets 'Bearer KEY'")
    narrows: bool = Field(False, description="the store takes `groups` and `filter` with a query, and keeps to them")
    max_bytes: int = Field(16 << 20, ge=1, description="a longer reply is refused")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class _Passage(_Strict):
    id: str = Field(min_length=1)
    title: str = ""
    text: str


class _Hit(_Passage):
    score: FiniteFloat
    origin: Origin = "base"


class _Whole(_Passage):
    groups: list[str] = []
    metadata: dict[str, Any] = {}


class _Hits(_Strict):
    hits: list[list[_Hit]]


class _Passages(_Strict):
    passages: list[_Whole]


class _Held(_Strict):
    release: str
    ids: list[str]


class _Acknowledged(_Strict):
    """Any JSON object."""


class HttpStore:
    """A `Retriever`, and whatever else the store has URLs for. Time-outs, 408, 429 and 5xx are tried again."""

    def __init__(self, settings: RetrieverConfig) -> None:
        self.settings, self.options = settings, read_options(HttpOptions, settings)
        self.headers = _key_header(self.options)
        for url in filter(None, (self.options.url, self.options.passages_url, self.options.units_url)):
            _check_url(url)
        self.client = httpx.Client(timeout=settings.timeout_s, headers=self.headers)
        self.threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="http-store")

    @property
    def narrows(self) -> bool:
        return self.options.narrows

    async def search(self, queries: Sequence[str], k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
        """The store's best `k` hits of each query; it is asked for `allowed` ones only where it `narrows`."""
        body: dict[str, Any] = {"queries": list(queries), "k": k}
        if allowed.groups is not None:
            body["groups"] = sorted(allowed.groups)
        if allowed.filter:
            body["filter"] = json.loads(allowed.filter)
        ask = partial(self._call, _Hits, self.options.url, body)
        reply = await asyncio.get_running_loop().run_in_executor(self.threads, ask)
        return [[Hit(**hit.model_dump()) for hit in hits] for hits in reply.hits]

    def passages(self, ids: Collection[str]) -> dict[str, Passage]:
        """`POST {"ids": [...]}` gives `{"passages": [{"id", "title", "text", "groups", "metadata"}]}` of those it has.

        Only where the option `passages_url` is given, which `external.passages` asks `knows_passages` for.
        """
        reply = self._call(_Passages, self._url("passages_url"), {"ids": sorted(ids)})
        return {
            p.id: Passage(p.id, p.title, p.text, groups=tuple(p.groups), metadata=p.metadata)
            for p in reply.passages
            if p.id in ids
        }

    @property
    def knows_passages(self) -> bool:
        return self.options.passages_url is not None

    def held(self) -> Held:
        """`GET` gives `{"release": "r0001", "ids": [...]}`."""
        reply = self._call(_Held, self._url("units_url"), None)
        return Held(reply.release, frozenset(reply.ids))

    def hold(self, release: NamedRelease, units: Sequence[EmbeddedUnit]) -> None:
        """`POST {"release", "encoder", "upsert": [{"id", "title", "text", "sources", "vector"}], "delete": [...]}`.

        Every unit is sent, since the store does not say with which encoder it was given its vectors.
        """
        gone = self.held().ids - {s.unit.id for s in units}
        sent = [
            {
                "id": s.unit.id,
                "title": s.unit.title,
                "text": s.unit.text,
                "sources": [id for id, _ in s.unit.sources],
                "vector": [float(x) for x in s.vector],
            }
            for s in units
        ]
        body = {"release": release.id, "encoder": release.encoder, "upsert": sent, "delete": sorted(gone)}
        self._call(_Acknowledged, self._url("units_url"), body)

    def _url(self, name: str) -> str:
        url: str | None = getattr(self.options, name)
        if url is None:
            raise UsageError(f"expected the setting retriever.options.{name}, found none: name the store's URL for it")
        return url

    def _call(self, kind: type[Reply], url: str, body: dict[str, Any] | None) -> Reply:
        """GET, or POST `body`; the reply is checked to be a `kind`."""
        return with_retries(f"the store at {url}", partial(self._try, kind, url, body), self.settings.max_retries)

    def _try(self, kind: type[Reply], url: str, body: dict[str, Any] | None) -> Reply:
        try:
            status, headers, content = self._exchange(url, body)
        except httpx.TimeoutException:
            raise TransientError(f"no reply within {self.settings.timeout_s:g} s") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise TransientError(self._quote(f"{type(error).__name__}: {error}")) from None
        said = self._quote(content.decode("utf-8", "replace"))
        if status in (408, 429) or status >= 500:
            raise TransientError(f"HTTP {status} ({said})", retry_after_s(headers) if status in (429, 503) else None)
        if status in (401, 403):  # its text may quote the key
            how = f"refused what {self.options.key_env} holds" if self.headers else "wants a key: set key_env"
            raise WbragError(f"expected the store at {url} to answer, found HTTP {status}: it {how}")
        if not 200 <= status < 300:
            raise WbragError(f"expected the store at {url} to answer, found HTTP {status} ({said}): check the URL")
        try:
            return kind.model_validate_json(content or b"{}")
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the reply"
            raise WbragError(
                f"expected the reply of {url} as docs/integrations.md describes it, found at {place}: "
                f"{first['msg'].lower()}"
            ) from None

    def _exchange(self, url: str, body: dict[str, Any] | None) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body, within `max_bytes` and `timeout_s`."""
        ends = time.monotonic() + self.settings.timeout_s
        payload = None if body is None else json.dumps(body, allow_nan=False).encode()
        kind = {"Content-Type": "application/json", "Accept": "application/json"}
        with self.client.stream("GET" if body is None else "POST", url, content=payload, headers=kind) as reply:
            content = bytearray()
            for piece in reply.iter_bytes():
                content += piece
                if len(content) > self.options.max_bytes:
                    raise WbragError(
                        f"expected a reply of at most {self.options.max_bytes} bytes from {url}, found a longer one: "
                        "ask for less, or raise retriever.options.max_bytes"
                    )
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout("slow body")
            return reply.status_code, reply.headers, bytes(content)

    def _quote(self, text: str) -> str:
        """A server's words on one line, short, without the key."""
        for value in self.headers.values():
            text = text.replace(value.removeprefix("Bearer "), "***")
        return " ".join(text.split())[:200]


def _key_header(options: HttpOptions) -> dict[str, str]:
    if options.key_env is None:
        return {}
    key = read_key(options.key_env)
    if not key:
        raise UsageError(f"expected a key in the environment variable {options.key_env}, found none: set it")
    return {options.header: f"Bearer {key}" if options.header.lower() == "authorization" else key}


def _check_url(url: str) -> None:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"expected a URL in retriever.options, found {url!r} ({error}): correct it") from None
    if parts.userinfo:
        raise UsageError("expected URLs without user and password in retriever.options: use key_env")
    if parts.scheme not in ("http", "https") or not parts.host:
        raise UsageError(f"expected a URL like https://host/search in retriever.options, found {url!r}: correct it")

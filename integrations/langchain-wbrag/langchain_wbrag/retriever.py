"""The retriever: documents and units of a wbrag library, best first, over `POST /v1/search`."""

from __future__ import annotations

from typing import Any

import httpx
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.utils import secret_from_env
from pydantic import Field, SecretStr


class WbragRetriever(BaseRetriever):
    """Searches a wbrag endpoint.

    Each document has its id, and in its metadata `title`, `kind` (`passage` or `unit`), `score`, `release`, and what
    the passage itself has. `k`, `release` and `filter` may also be given to `invoke` and `ainvoke`. Raises
    `httpx.HTTPStatusError` with the endpoint's own sentence where it refuses.
    """

    url: str = "http://127.0.0.1:8000"
    """Where `wbrag serve` listens."""

    api_key: SecretStr | None = Field(default_factory=secret_from_env("WBRAG_API_KEY", default=None))
    """What `wbrag keys add` printed; `WBRAG_API_KEY` in the environment where it is not given."""

    k: int = 5
    """How many documents."""

    release: str | None = None
    """An id, `latest`, or `none` for the corpus alone; the endpoint's own default where it is not given."""

    filter: dict[str, Any] | None = None
    """Of metadata: `{"lang": "de", "dept": ["hr", "legal"], "year": {"gte": 2019}}`."""

    timeout: float = 60.0
    """Seconds until an answer."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        with httpx.Client(base_url=self.url, headers=self._headers(), timeout=self.timeout) as client:
            return _documents(client.post("/v1/search", json=self._body(query, given)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        async with httpx.AsyncClient(base_url=self.url, headers=self._headers(), timeout=self.timeout) as client:
            return _documents(await client.post("/v1/search", json=self._body(query, given)))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key.get_secret_value()}"} if self.api_key else {}

    def _body(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        asked = {"k": self.k, "release": self.release, "filter": self.filter}
        if unknown := sorted(given.keys() - asked.keys()):
            raise TypeError(f"expected k, release and filter, found {', '.join(unknown)}: leave it out")
        return {"query": query} | {name: value for name, value in (asked | given).items() if value is not None}


def _documents(reply: httpx.Response) -> list[Document]:
    if reply.is_error:
        said = f"{reply.status_code} from {reply.request.url}: {_sentence(reply)}"
        raise httpx.HTTPStatusError(said, request=reply.request, response=reply)
    found = reply.json()
    kept = ("title", "kind", "score")
    return [
        Document(
            id=hit["id"],
            page_content=hit["text"],
            metadata=(hit.get("metadata") or {}) | {name: hit[name] for name in kept} | {"release": found["release"]},
        )
        for hit in found["hits"]
    ]


def _sentence(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return reply.text[:300]

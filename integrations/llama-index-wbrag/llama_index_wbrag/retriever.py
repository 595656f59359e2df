"""The retriever: documents and units of a wbrag library, best first, over `POST /v1/search`."""

from __future__ import annotations

import os
from typing import Any

import httpx
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode


class WbragRetriever(BaseRetriever):
    """Searches a wbrag endpoint.

    `url`: where `wbrag serve` listens. `api_key`: what `wbrag keys add` printed, or `WBRAG_API_KEY` in the environment.
    `release`: an id, `latest`, or `none` for the corpus alone. `filter`: of metadata, as
    `{"lang": "de", "year": {"gte": 2019}}`. `timeout`: seconds. Each node has its id, and in its metadata `title`,
    `kind` (`passage` or `unit`), `release`, and what the passage itself has. Raises `httpx.HTTPStatusError` with the
    endpoint's own sentence where it refuses.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        k: int = 5,
        release: str | None = None,
        filter: dict[str, Any] | None = None,
        timeout: float = 60.0,
        **kwargs: Any,
    ) -> None:
        key = api_key or os.environ.get("WBRAG_API_KEY")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url, self._timeout = url, timeout
        self._asked = {n: v for n, v in (("k", k), ("release", release), ("filter", filter)) if v is not None}
        super().__init__(**kwargs)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=self._timeout) as client:
            return _nodes(client.post("/v1/search", json=self._body(query_bundle)))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        async with httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=self._timeout) as client:
            return _nodes(await client.post("/v1/search", json=self._body(query_bundle)))

    def _body(self, query_bundle: QueryBundle) -> dict[str, Any]:
        return {"query": query_bundle.query_str} | self._asked


def _nodes(reply: httpx.Response) -> list[NodeWithScore]:
    if reply.is_error:
        said = f"{reply.status_code} from {reply.request.url}: {_sentence(reply)}"
        raise httpx.HTTPStatusError(said, request=reply.request, response=reply)
    found = reply.json()
    return [
        NodeWithScore(
            node=TextNode(
                id_=hit["id"],
                text=hit["text"],
                metadata=(hit.get("metadata") or {})
                | {"title": hit["title"], "kind": hit["kind"], "release": found["release"]},
                excluded_llm_metadata_keys=["kind", "release"],
            ),
            score=hit["score"],
        )
        for hit in found["hits"]
    ]


def _sentence(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return reply.text[:300]

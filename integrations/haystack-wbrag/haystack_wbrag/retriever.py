"""The retriever: documents and units of a wbrag library, best first, over `POST /v1/search`."""

from typing import Any

import httpx
from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import Secret

KEY = Secret.from_env_var("WBRAG_API_KEY", strict=False)


@component
class WbragRetriever:
    """Searches a wbrag endpoint.

    `url`: where `wbrag serve` listens. `api_key`: what `wbrag keys add` printed, `WBRAG_API_KEY` in the environment
    where it is not given. `release`: an id, `latest`, or `none` for the corpus alone. `filters`: of metadata in wbrag's
    own form, `{"lang": "de", "year": {"gte": 2019}}`. `timeout`: seconds. Each document has its id and score, and in
    its meta `title`, `kind` (`passage` or `unit`), `release`, and what the passage itself has. Raises
    `httpx.HTTPStatusError` with the endpoint's own sentence where it refuses.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: Secret | None = KEY,
        top_k: int = 5,
        release: str | None = None,
        filters: dict[str, Any] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.url, self.api_key, self.top_k, self.release = url, api_key, top_k, release
        self.filters, self.timeout = filters, timeout

    def to_dict(self) -> dict[str, Any]:
        """What a pipeline's YAML keeps; a key only as the name of its variable."""
        return default_to_dict(
            self,
            url=self.url,
            api_key=self.api_key.to_dict() if self.api_key else None,
            top_k=self.top_k,
            release=self.release,
            filters=self.filters,
            timeout=self.timeout,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "WbragRetriever":
        """What `to_dict` wrote."""
        given = dict(data.get("init_parameters", {}))
        if isinstance(given.get("api_key"), dict):
            given["api_key"] = Secret.from_dict(given["api_key"])
        return default_from_dict(cls, data | {"init_parameters": given})

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """The best documents for `query`; `top_k` and `filters` in place of the component's own."""
        with httpx.Client(base_url=self.url, headers=self._headers(), timeout=self.timeout) as client:
            return {"documents": _documents(client.post("/v1/search", json=self._body(query, top_k, filters)))}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """As `run`."""
        async with httpx.AsyncClient(base_url=self.url, headers=self._headers(), timeout=self.timeout) as client:
            return {"documents": _documents(await client.post("/v1/search", json=self._body(query, top_k, filters)))}

    def _headers(self) -> dict[str, str]:
        key = self.api_key.resolve_value() if self.api_key else None
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _body(self, query: str, top_k: int | None, filters: dict[str, Any] | None) -> dict[str, Any]:
        asked = {"k": top_k or self.top_k, "release": self.release, "filter": filters or self.filters}
        return {"query": query} | {name: value for name, value in asked.items() if value is not None}


def _documents(reply: httpx.Response) -> list[Document]:
    if reply.is_error:
        said = f"{reply.status_code} from {reply.request.url}: {_sentence(reply)}"
        raise httpx.HTTPStatusError(said, request=reply.request, response=reply)
    found = reply.json()
    return [
        Document(
            id=hit["id"],
            content=hit["text"],
            score=hit["score"],
            meta=(hit.get("metadata") or {})
            | {"title": hit["title"], "kind": hit["kind"], "release": found["release"]},
        )
        for hit in found["hits"]
    ]


def _sentence(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return reply.text[:300]

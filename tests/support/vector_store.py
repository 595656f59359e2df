"""A store with the methods of LangChain's `VectorStore`, without LangChain; `open_store` is what settings name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Document:
    page_content: str
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass
class WordStore:
    """Scores count the words that are shared, most first; with `distances` the other way round, as some stores do."""

    documents: list[Document]
    distances: bool = False
    failures: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list)

    def similarity_search_with_score(self, query: str, k: int = 4, **more: Any) -> list[tuple[Document, float]]:
        self.calls.append(more)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the store\nis away")
        wanted = set(query.lower().split())
        kept = [d for d in self.documents if all(d.metadata.get(n) == v for n, v in more.get("filter", {}).items())]
        scored = [(d, len(wanted & set(d.page_content.lower().split())) / 10) for d in kept]
        best = sorted(scored, key=lambda one: -one[1])[:k]
        return [(d, 1 - s) for d, s in best] if self.distances else best

    def get_by_ids(self, ids: list[str], /) -> list[Document]:
        return [document for document in self.documents if document.id in ids]


STORE = WordStore([])


def open_store() -> WordStore:
    return STORE


def narrow(groups: list[str] | None, filter: dict[str, Any]) -> dict[str, Any]:
    return {"filter": filter, "groups": groups}


NO_FUNCTION = "here"

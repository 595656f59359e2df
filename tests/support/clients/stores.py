"""LangChain's vector stores under wbrag: `stores.py KIND` fills the one at $STORE_AT and searches it as wbrag would.

Prints one JSON object: what was found for each query, what is narrowed, and what is asked by id.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

WORDS = 1024
NOTES = [
    {"title": f"Note {i}", "text": f"The code of {thing} is k{i}.", "lang": "de" if i % 3 else "en", "year": 2000 + i}
    for i, thing in enumerate("lamp gate mill boat bridge tower canal dam mine ford quay weir".split())
]


class Counted(Embeddings):
    """A text's vector counts its words, hashed; unit length."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = np.full(WORDS, 0.01)
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(word.encode()) % WORDS] += 1
        return [float(x) for x in vector / np.linalg.norm(vector)]


def documents() -> list[Document]:
    return [
        Document(id=f"00000000-0000-0000-0000-{i:012}", page_content=note["text"], metadata={**note, "text": ""})
        for i, note in enumerate(NOTES)
    ]


# -- functions that retriever.options name --------------------------------------------------------------------------


def open_qdrant() -> VectorStore:
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(path=where())
    if not client.collection_exists("notes"):
        client.create_collection("notes", vectors_config=VectorParams(size=WORDS, distance=Distance.COSINE))
    return QdrantVectorStore(client, "notes", embedding=Counted())


def narrow_qdrant(groups: list[str] | None, filter: dict[str, Any]) -> dict[str, Any]:
    from qdrant_client import models as m

    def condition(field: str, wanted: Any) -> m.FieldCondition:
        if isinstance(wanted, dict):
            return m.FieldCondition(key=f"metadata.{field}", range=m.Range(**wanted))
        values = wanted if isinstance(wanted, list) else [wanted]
        return m.FieldCondition(key=f"metadata.{field}", match=m.MatchAny(any=values))

    return {"filter": m.Filter(must=[condition(*one) for one in filter.items()])}


def open_lancedb() -> VectorStore:
    from langchain_community.vectorstores import LanceDB

    return LanceDB(uri=where(), embedding=Counted(), table_name="notes", mode="append")


def open_elasticsearch() -> VectorStore:
    from langchain_elasticsearch import ElasticsearchStore

    return ElasticsearchStore("notes", es_url=where(), embedding=Counted())


def where() -> str:
    return os.environ["STORE_AT"]


# -- as wbrag does -------------------------------------------------------------------------------------------------


def main(kind: str) -> dict[str, Any]:
    from wbrag.core.allowed import Allowed, checked_filter
    from wbrag.core.sections import RetrieverConfig
    from wbrag.retrieval.external import open_store
    from wbrag.retrieval.external.text_search import TextSearchBase

    options: dict[str, Any] = {"open": f"stores:open_{kind}"}
    if kind == "qdrant":
        options |= {"narrow": "stores:narrow_qdrant", "by_id": True, "groups": "acl"}
    store = open_store(RetrieverConfig(kind="langchain", options=options))
    filled: VectorStore = store._opened()
    filled.add_documents(documents(), ids=[document.id for document in documents()])

    class Words:
        async def passages(self, texts: list[str]) -> Any:
            return np.array(Counted().embed_documents(texts), np.float32)

    base = TextSearchBase(store, Words())  # type: ignore[arg-type]
    queries = ["What is the code of the mill?", "the code of tower"]
    vectors = np.array(Counted().embed_documents(queries), np.float32)
    found = asyncio.run(base.search(queries, vectors, 4))
    narrowed: list[Any] = []
    if store.narrows:
        allowed = Allowed(None, checked_filter({"lang": "de", "year": {"gte": 2005}}))
        [narrowed] = asyncio.run(base.search(queries[:1], vectors[:1], 20, allowed))
    by_id = store.passages([found[0][0].id]) if store.knows_passages else {}
    return {
        "found": [[(hit.id, hit.title, hit.text, round(hit.score, 4)) for hit in hits] for hits in found],
        "narrowed": [hit.metadata for hit in narrowed],
        "by id": {id: passage.title for id, passage in by_id.items()},
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    print(json.dumps(main(sys.argv[1])))

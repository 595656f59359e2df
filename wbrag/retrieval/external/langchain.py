"""LangChain store: base passages in whatever implements LangChain's `VectorStore`, opened by a function of yours.

Nothing of LangChain is imported here: a store is what has the methods. It searches by its own embeddings, so its hits
are scored again by wbrag's encoder (`retriever.rescore`).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pydantic import Field

from wbrag.core.allowed import EVERYTHING, Allowed, checked_groups
from wbrag.core.errors import UsageError, WbragError, said
from wbrag.core.model_sections import Section
from wbrag.core.sections import RetrieverConfig
from wbrag.core.types import Hit, Passage
from wbrag.retrieval.external.options import read_options
from wbrag.retrieval.external.retry import TransientError, with_retries


class LangChainOptions(Section):
    open: str = Field(description="MODULE:FUNCTION, which takes nothing and returns the VectorStore")
    id: str | None = Field(None, description="the metadata's field with ids; default: the documents' own, else a hash")
    by_id: bool = Field(False, description="the store gives documents by their own ids, so that refresh sees changes")
    title: str = Field("title", description="the metadata's field with titles")
    narrow: str | None = Field(
        None, description="MODULE:FUNCTION: groups (or None for all) and filter to the arguments of the store's search"
    )
    groups: str | None = Field(None, description="with narrow: the metadata's field with who may see a document")


class LangChainStore:
    """A `Retriever` over a `VectorStore`; `retriever.connections` searches at once, each in a thread."""

    def __init__(self, settings: RetrieverConfig) -> None:
        self.settings, self.options = settings, read_options(LangChainOptions, settings)
        self.threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="langchain-store")
        if self.options.narrow and self.options.by_id and not self.options.groups:  # units inherit them
            raise UsageError("expected retriever.options.groups beside narrow and by_id, found none: name the field")
        self._narrow = _named("narrow", self.options.narrow) if self.options.narrow else None
        self._open, self._store, self._lock = _named("open", self.options.open), None, threading.Lock()

    @property
    def narrows(self) -> bool:
        return self._narrow is not None

    async def search(self, queries: Sequence[str], k: int, allowed: Allowed = EVERYTHING) -> list[list[Hit]]:
        """The store's best `k` of each query; told what is `allowed` where it `narrows`."""
        more: Mapping[str, Any] = {}
        if self._narrow is not None and not allowed.everything:
            groups = None if allowed.groups is None else sorted(allowed.groups)
            more = self._narrow(groups, json.loads(allowed.filter or "{}"))
        loop = asyncio.get_running_loop()
        asked = (loop.run_in_executor(self.threads, self._call, partial(self._find, q, k, more)) for q in queries)
        try:
            return await asyncio.wait_for(asyncio.gather(*asked), self._patience())
        except TimeoutError:
            raise WbragError(
                f"expected hits from the store of {self.options.open} within retriever.timeout_s, found none: "
                "see whether it runs, or raise it"
            ) from None

    def passages(self, ids: Collection[str]) -> dict[str, Passage]:
        """Those of `ids` that the store has; only where the option `by_id` says so (`knows_passages`)."""
        found: list[Any] = self._call(lambda: self._opened().get_by_ids(sorted(ids)))
        passages = {}
        for document in found:
            hit, named = self._hit(document, 0.0), (document.metadata or {}).get(self.options.groups or "") or ()
            groups = checked_groups([named] if isinstance(named, str) else named)
            passages[hit.id] = Passage(
                hit.id, hit.title, hit.text, groups=tuple(sorted(groups)), metadata=hit.metadata or {}
            )
        return passages

    @property
    def knows_passages(self) -> bool:
        return self.options.by_id

    def _patience(self) -> float:
        return self.settings.timeout_s * (self.settings.max_retries + 1)

    def _find(self, query: str, k: int, more: Mapping[str, Any]) -> list[Hit]:
        found = self._opened().similarity_search_with_score(query, k=k, **more)
        hits: dict[str, Hit] = {}
        for document, score in found:
            hit = self._hit(document, float(score))
            hits.setdefault(hit.id, hit)  # the same text twice is one passage where the store has no ids
        return list(hits.values())

    def _hit(self, document: Any, score: float) -> Hit:
        metadata = dict(document.metadata or {})
        title = metadata.pop(self.options.title, None)
        metadata.pop(self.options.groups, None)
        id = metadata.pop(self.options.id, None) if self.options.id else getattr(document, "id", None)
        id = metadata.get("_id") if id is None else id  # where Qdrant's store has it
        if id is None and self.options.by_id:
            raise UsageError("expected documents with ids (retriever.options.by_id), found one without: set it false")
        if id is None:
            id = hashlib.sha256(f"{title or ''}\n{document.page_content}".encode()).hexdigest()[:16]
        kept = {name: value for name, value in metadata.items() if not name.startswith("_") and _plain(value)}
        return Hit(str(id), str(title or ""), document.page_content, score, metadata=kept or None)

    def _opened(self) -> Any:
        with self._lock:
            if self._store is None:
                self._store = self._open()
            return self._store

    def _call(self, work: Callable[[], Any]) -> Any:
        return with_retries(f"the store of {self.options.open}", partial(_tried, work), self.settings.max_retries)


def _tried(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except WbragError:
        raise
    except (TypeError, AttributeError, ImportError, NotImplementedError) as error:  # no waiting helps
        raise UsageError(f"expected a VectorStore of LangChain, found {said(error)}: mend the function") from error
    except Exception as error:  # somebody else's client
        raise TransientError(said(error)) from error


def _named(option: str, path: str) -> Callable[..., Any]:
    """The function that `MODULE:FUNCTION` names; raises `UsageError` where there is none."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"expected MODULE:FUNCTION in retriever.options.{option}, found {path!r} ({said(error)}): install the "
            "module on every node, or name its folder in PYTHONPATH"
        ) from None
    if not callable(found):
        raise UsageError(f"expected a function in retriever.options.{option}, found {path!r}: name one")
    return found  # type: ignore[no-any-return]


def _plain(value: Any) -> bool:
    """What metadata may hold: texts, numbers, true or false, and lists of these."""
    if isinstance(value, list):
        return all(_plain(one) and not isinstance(one, list) for one in value)
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))

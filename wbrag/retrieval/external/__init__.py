"""External stores: where base passages are searched outside wbrag, and where approved units are pushed.

A plugin is one function, an entry point of the group `wbrag.retrievers`: it gets the setting `retriever.options` and
returns a `wbrag.types.Retriever`. What else that object can do is found by looking: `passages` (see `KnowsPassages`),
`version` (`HasVersion`), `held` and `hold` (`Collection`).
"""

from __future__ import annotations

from collections import abc
from importlib.metadata import entry_points
from typing import Any, NamedTuple, Protocol, runtime_checkable

from wbrag.core.config import Config
from wbrag.core.errors import UsageError, WbragError, unknown
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location
from wbrag.core.sections import RetrieverConfig
from wbrag.core.types import Passage, Unit
from wbrag.retrieval.encoder import TextEncoder, Vectors
from wbrag.retrieval.external.source_cache import load_passages
from wbrag.retrieval.external.text_search import TextSearchBase
from wbrag.retrieval.retriever import Base

ENTRY_POINTS = "wbrag.retrievers"
LOCAL_KIND = "faiss"
BUILT_IN_KINDS = ("http", "langchain", "pgvector")


class Held(NamedTuple):
    """What a store's collection of units holds: a release ("" for none yet) and the units' ids."""

    release: str
    ids: frozenset[str]


class NamedRelease(Protocol):
    """The release that a collection is to hold: its id, and the fingerprint of the encoder of its units' vectors."""

    @property
    def id(self) -> str: ...

    @property
    def encoder(self) -> str: ...


class EmbeddedUnit(Protocol):
    """A unit with its vector [d]."""

    @property
    def unit(self) -> Unit: ...

    @property
    def vector(self) -> Vectors: ...


@runtime_checkable
class Collection(Protocol):
    """The store's own collection of units, separate from its passages, which wbrag never writes."""

    def held(self) -> Held: ...

    def hold(self, release: NamedRelease, units: abc.Sequence[EmbeddedUnit]) -> None:
        """Upsert `units` and delete every other one, in one transaction where the store has such; repeating it is
        harmless. A unit's id is the hash of its contents, its vector that of the encoder `release.encoder`."""
        ...


@runtime_checkable
class KnowsPassages(Protocol):
    def passages(self, ids: abc.Collection[str]) -> dict[str, Passage]:
        """Those of `ids` that the store has, as they are now."""
        ...


@runtime_checkable
class HasVersion(Protocol):
    def version(self) -> str:
        """Another text whenever the store's passages are others."""
        ...


def is_external(config: Config) -> bool:
    """Whether the base passages are in a store that wbrag does not own."""
    return config.retriever.kind != LOCAL_KIND


def open_store(settings: RetrieverConfig) -> Any:
    """The store that `settings` name: a `Retriever`, or a `Base` where it is searched by vectors. Connects later."""
    if settings.kind == "http":
        from wbrag.retrieval.external.http import HttpStore

        return HttpStore(settings)
    if settings.kind == "langchain":
        from wbrag.retrieval.external.langchain import LangChainStore

        return LangChainStore(settings)
    if settings.kind == "pgvector":
        try:
            from wbrag.retrieval.external.pgvector import PgVector
        except ImportError:
            raise WbragError(
                "expected the package psycopg for retriever.kind pgvector, found none: pip install 'psycopg[binary]'"
            ) from None
        return PgVector(settings)
    plugins = {plugin.name: plugin for plugin in entry_points(group=ENTRY_POINTS)}
    if settings.kind not in plugins:
        raise unknown("retriever.kind", settings.kind, [LOCAL_KIND, *BUILT_IN_KINDS, *plugins])
    try:
        return plugins[settings.kind].load()(settings.options)
    except WbragError:
        raise
    except Exception as error:  # somebody else's code
        found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UsageError(
            f"expected the plugin {settings.kind!r} to open a store with retriever.options, found {found}: mend either"
        ) from None


def open_base(config: Config, encoder: TextEncoder) -> Base | None:
    """The outside store as the base of an `IndexRetriever`; None where the base is wbrag's own index."""
    if not is_external(config):
        return None
    check_words(config)
    store = open_store(config.retriever)
    by_vectors: bool = config.retriever.kind == "pgvector"
    return store if by_vectors else TextSearchBase(store, encoder, config.retriever.rescore)


def check_words(config: Config) -> None:
    """Raises `UsageError` where words are to be searched in a store that wbrag does not own."""
    if config.retrieval.hybrid and is_external(config):
        raise UsageError(
            f"expected wbrag's own index for retrieval.hybrid, found retriever.kind {config.retriever.kind!r}: let the "
            "store search by words, or set retrieval.hybrid 0"
        )


def state(config: Config) -> list[str]:
    """What names the store's present passages in the fingerprint of a run; empty for wbrag's own index."""
    r = config.retriever
    if not is_external(config):
        return []
    store = None if r.version else open_store(r)
    version = store.version() if isinstance(store, HasVersion) else r.version
    return [identity(config), version, str(r.rescore)]


def identity(config: Config) -> str:
    """Which store: a short hash of its kind and options."""
    return fingerprint(config.retriever.kind, config.retriever.options)


def narrows(config: Config) -> bool:
    """Whether the outside store knows access lists or metadata of its passages."""
    return bool(getattr(open_store(config.retriever), "narrows", False))


def passages(config: Config, ids: abc.Collection[str], kept: Location | None) -> dict[str, Passage]:
    """Those of the outside store's passages that `ids` name, else as enrichment kept them in the folder `kept`."""
    store = open_store(config.retriever)
    if not ids or not isinstance(store, KnowsPassages) or not getattr(store, "knows_passages", True):
        return load_passages(kept, ids) if kept is not None else {}
    return store.passages(ids)

"""Index build on Ray: passages embedded once each, shards built in parallel as soon as their passages are there.

Vectors are kept in packs, named by what they are of and written aside; a killed build repeats at most those in flight,
a finished shard is never built again, and a changed corpus embeds what has changed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import ray

from wbrag.core.io.files import Location, location
from wbrag.executor.ray.capacity import Asked, cluster
from wbrag.executor.ray.corpus_blocks import CorpusBlock, Piece
from wbrag.executor.ray.failures import translated
from wbrag.executor.ray.index_lists import Lists
from wbrag.executor.ray.index_plan import Wanted, describe, keep_keys, kept_keys, missing_keys, plan_index
from wbrag.executor.ray.session import ANYWHERE, Session, wait
from wbrag.executor.ray.tasks import side_by_side
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest, ShardFiles
from wbrag.retrieval.index.shard import Block, build_once
from wbrag.retrieval.index.sizes import build_bytes
from wbrag.retrieval.index.vector_store import Places, VectorStore
from wbrag.retrieval.index.words import Spread

Progress = Callable[[int, int], None]
T = TypeVar("T")
AT_ONCE = 2  # pieces in one encoder's hands: one is read while the other is encoded
LOOKS_S = 1.0  # between two looks for encoders that have come up
MOST_THREADS = 16  # of one build: FAISS gains little from more


class BuiltIndex(NamedTuple):
    """An index, and what was done for it: passages that were embedded, and shards that were built."""

    manifest: Manifest
    embedded: int
    built: int


@translated("the build of the index")
def build_index(
    session: Session,
    corpus: Location,
    parts: Mapping[str, str],
    embeddings: Location,
    root: Location,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda said: None,
) -> BuiltIndex:
    """Embed and index what of `corpus` is new, and resume what is there; the manifest is the caller's to write.

    `parts` are its files' names with their sha256. A passage is embedded once, wherever it stands; shards whose
    passages are those of before are taken over.
    """
    config, encoder = session.config, encoder_fingerprint(session.config.encoder)
    session.connect()
    session.start_encoders()  # meanwhile
    store, kept = VectorStore(embeddings / encoder), embeddings / "keys"
    store.folder.mkdir(parents=True, exist_ok=True)
    limit_s = config.ray.start_timeout_s
    files = [(str(corpus / name), str(file)) for name, file in missing_keys(parts, kept).items()]
    for _ in side_by_side(_keep_keys, files, "the reading of the corpus", limit_s):
        pass
    keys = kept_keys(parts, kept)
    found = plan_index(config, corpus, keys, store, root)
    dimension = session.encoder().dimension()
    shards = dict(found.files)
    if found.wanted:
        tell(found.said())
        lists = Lists.of(session, root, store, dimension, found, keys)
        shards |= _build_shards(session, store, root, dimension, found.wanted, lists, progress)
    whole = tuple(shards[i] for i in range(len(found.blocks)))
    made = Manifest(encoder, config.encoder.model, dimension, config.index.factory, whole)
    describe(root, made.name, found)
    return BuiltIndex(made, found.new, len(found.wanted))


def _keep_keys(part: str, file: str) -> None:
    keep_keys(location(part), location(file))


def _build_shards(
    session: Session,
    store: VectorStore,
    root: Location,
    dimension: int,
    wanted: Mapping[int, Wanted],
    lists: Lists,
    progress: Progress | None,
) -> dict[int, ShardFiles]:
    """Each of the `wanted` shards, begun as soon as its passages are embedded and the `lists` it shares are there."""
    builds = Builds(session, root, store, dimension, wanted.values(), lists)
    total = done = sum(len(one.keys) for one in wanted.values())
    done -= sum(len(piece.keys) for one in wanted.values() for piece in one.pieces)
    left = {i: len(one.pieces) for i, one in wanted.items()}
    try:
        for i in [i for i, count in left.items() if not count]:
            builds.begin(i, wanted[i])
        pieces = [(i, p) for i, one in wanted.items() for p in one.pieces]
        for i, piece, rows in _embed(session, lists.first(pieces), store.folder):
            lists.embedded(piece)
            left[i] -= 1
            done += rows
            if progress:
                progress(done, total)
            if not left[i]:
                builds.begin(i, wanted[i])
            builds.collect(timeout=0)
        while builds.running or builds.waiting:
            builds.collect(timeout=LOOKS_S)
        return builds.files
    finally:
        builds.stop()
        lists.stop()


class Builds:
    """The shards that are being built, each by an actor of its own that goes when its shard is there.

    It asks for one core, so that it finds a place on any node, and for the memory of its index; FAISS works in its
    share of the node's cores.
    """

    def __init__(
        self,
        session: Session,
        root: Location,
        store: VectorStore,
        dimension: int,
        wanted: Collection[Wanted],
        lists: Lists,
    ) -> None:
        self.session, self.root, self.store, self.dimension, self.lists = session, root, store, dimension, lists
        self.waiting: list[tuple[int, Wanted]] = []  # shards whose passages are there, for the lists that they share
        self.factory = session.config.index.factory
        memory = build_bytes(max(len(one.keys) for one in wanted), dimension, self.factory)
        session.check(Asked("shard builds", 1, memory=memory, lower="raise index.shards or choose SQfp16"))
        self.actor = ray.remote(ShardBuilder).options(num_cpus=1, memory=memory, **ANYWHERE)
        self.threads = max(1, min(MOST_THREADS, int(cluster().get("CPU", 1)) // len(wanted)))
        self.running: dict[Any, tuple[int, Any, Any]] = {}  # by what is built: the shard, its actor, and its place
        self.files: dict[int, ShardFiles] = {}
        self._since = time.monotonic()

    def begin(self, shard: int, one: Wanted) -> None:
        self.waiting.append((shard, one))
        self._begin()

    def _begin(self) -> None:
        if self.waiting and self.lists.there():
            for shard, one in self.waiting:
                self._start(shard, one)
            self.waiting = []

    def _start(self, shard: int, one: Wanted) -> None:
        builder, places = self.actor.remote(), self.store.places(one.keys)
        what = str(self.root), one.name, self.factory, self.dimension, one.blocks, places, str(self.store.folder)
        built = builder.build.remote(*what, self.threads, self.lists.files)
        self.running[built] = shard, builder, builder.ready.remote()
        self._since = time.monotonic()

    def collect(self, timeout: float) -> None:
        """Take what is finished, in whichever order, and give its place away; not for ever while none has a place."""
        self._begin()
        if not self.running:
            self.lists.wait(timeout)
            return
        for built in ray.wait(list(self.running), timeout=timeout)[0]:
            shard, builder, _ = self.running.pop(built)
            self.files[shard] = ray.get(built)
            ray.kill(builder)
        places = [place for _, _, place in self.running.values()]
        if not places or ray.wait(places, timeout=0)[0]:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > self.session.config.ray.start_timeout_s:
            wait(places, "the builders of shards", 0.0, at_least=1)  # says what has no place

    def stop(self) -> None:
        for _, builder, _ in self.running.values():
            ray.kill(builder)


def spread(limit_s: float) -> Spread:
    """What `function(root, ...)` gives for each of several, in their order, worked out side by side."""

    def side(function: Callable[..., Any], root: Location, over: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        calls = [(function, str(root), rest) for rest in over]
        return side_by_side(_call, calls, "the index of words", limit_s)

    return side


def _call(function: Callable[..., T], root: str, rest: tuple[Any, ...]) -> T:
    return function(location(root), *rest)


def _embed(session: Session, pieces: Sequence[tuple[int, Piece]], folder: Location) -> Iterator[tuple[int, Piece, int]]:
    """Yields shard, piece and passages of each as its pack is written.

    An encoder has `AT_ONCE` pieces in hand; one that comes up later takes its share from then on. It reads and writes
    them itself, so that no text passes through this process.
    """
    if not pieces:
        return
    encoder, waiting, running = session.encoder(), list(reversed(pieces)), dict[Any, tuple[int, Piece, Any]]()
    busy: Counter[Any] = Counter()
    while waiting or running:
        for actor in encoder.up():
            while waiting and busy[actor] < AT_ONCE:
                shard, piece = waiting.pop()
                running[actor.embed.remote(piece, str(folder))] = shard, piece, actor
                busy[actor] += 1
        for done in ray.wait(list(running), timeout=LOOKS_S)[0]:
            shard, piece, actor = running.pop(done)
            busy[actor] -= 1
            yield shard, piece, ray.get(done)


class ShardBuilder:
    """One shard from its blocks, in a process of its own: FAISS keeps its threads for what Ray puts there next."""

    async def ready(self) -> bool:
        return True

    async def build(self, *what: Any) -> ShardFiles:
        return await asyncio.to_thread(build_one, *what)


def build_one(
    root: str,
    name: str,
    factory: str,
    dimension: int,
    blocks: list[CorpusBlock],
    places: Places,
    store: str,
    threads: int,
    trained: ShardFiles | None = None,
) -> ShardFiles:
    """The shard `name` of the passages of `blocks`, whose vectors lie at `places` of a store."""
    import faiss

    def stream() -> Iterator[Block]:
        start = 0
        for block in blocks:
            stop = start + block.rows
            yield VectorStore(location(store)).vectors(places.of(start, stop)), block.read()
            start = stop

    faiss.omp_set_num_threads(min(threads, os.cpu_count() or 1))
    return build_once(location(root), name, factory, dimension, stream(), sum(b.rows for b in blocks), trained)

"""Lists that shards share: an index that learns from vectors learns once, on all cores of a node, for all its shards.

What it learns from is embedded first, blocks spread over the corpus, so that it is there before most shards need it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from wbrag.core.env import cores
from wbrag.core.io.files import Location, location
from wbrag.executor.ray.capacity import Asked
from wbrag.executor.ray.corpus_blocks import Piece
from wbrag.executor.ray.index_plan import IndexPlan, sampled
from wbrag.executor.ray.session import ANYWHERE, Session, wait
from wbrag.retrieval.index.build import PIECE, trained_on
from wbrag.retrieval.index.manifest import ShardFiles
from wbrag.retrieval.index.shard import finished, write_trained
from wbrag.retrieval.index.sizes import training_bytes
from wbrag.retrieval.index.vector_store import Keys, Places, VectorStore


class Lists:
    """The empty index that shards are filled from: `files` once it is there, None where there is none to share.

    It learns from the passages of `sample` [n, 2], by their keys, once the `needed` pieces have been embedded.
    """

    def __init__(
        self, session: Session, root: Location, store: VectorStore, plan: IndexPlan, needed: set[str], sample: Keys
    ) -> None:
        self.session, self.root, self.store, self.plan = session, root, store, plan
        self.files: ShardFiles | None = None
        self._needed, self._sample, self._memory = needed, sample, 0
        self._building: tuple[Any, Any, Any] | None = None  # the actor, what it is asked, and that it has a place
        self._since = 0.0

    @classmethod
    def of(
        cls,
        session: Session,
        root: Location,
        store: VectorStore,
        dimension: int,
        plan: IndexPlan,
        keys: Mapping[str, Any],
    ) -> Lists:
        """Those of `plan`, whose corpus has passages with these `keys` [n, 4], file by file."""
        factory = session.config.index.factory
        found = cls(session, root, store, plan, set(), np.empty((0, 2), np.uint64))
        wanted = trained_on(factory, dimension) if plan.training else 0
        if not wanted or not plan.training:
            return found
        if files := finished(root, plan.training.name):
            found.files = files
            return found
        new = {block.place for number in plan.wanted for block in plan.blocks[number]}
        blocks = [block for mine in plan.blocks for block in mine]
        chosen, sample = sampled(blocks, keys, wanted)
        there = [keys[block.place[0]][block.start : block.stop, :2] for block in chosen if block.place not in new]
        if there and not store.places(np.concatenate(there)).known.all():  # of shards that are taken over
            chosen, sample = sampled([block for block in blocks if block.place in new], keys, wanted)
        found._sample, places = sample, {block.place for block in chosen}
        for piece in (piece for one in plan.wanted.values() for piece in one.pieces):
            if places & {block.place for block, _ in piece.parts}:
                found._needed.add(piece.name)
        found._memory = training_bytes(plan.passages, dimension, factory)
        session.check(Asked("the lists of an index", 1, memory=found._memory, lower="choose fewer, or SQfp16"))
        return found

    def first(self, pieces: Sequence[tuple[int, Piece]]) -> list[tuple[int, Piece]]:
        """`pieces` with those that are needed here at their head."""
        return sorted(pieces, key=lambda one: one[1].name not in self._needed)

    def embedded(self, piece: Piece) -> None:
        self._needed.discard(piece.name)
        self.there()

    def there(self) -> bool:
        """Whether shards can be filled; begins to train once that is possible."""
        if self.files is not None or not len(self._sample):
            return True
        if self._building is None and not self._needed:
            places = self.store.places(self._sample)
            trainer = ray.remote(Trainer).options(num_cpus=1, memory=self._memory, **ANYWHERE).remote()
            assert self.plan.training is not None
            what = str(self.root), self.plan.training.name, self.plan.training.factory, self.plan.passages
            built = trainer.train.remote(*what, str(self.store.folder), places)
            self._building, self._since = (trainer, built, trainer.ready.remote()), time.monotonic()
        return self._take(0.0)

    def wait(self, timeout: float) -> None:
        """For as long as this, where it is being trained."""
        self._take(timeout)

    def _take(self, timeout: float) -> bool:
        if not self._building:
            return self.files is not None
        trainer, built, ready = self._building
        if ray.wait([built], timeout=timeout)[0]:
            self.files, self._building = ray.get(built), None
            ray.kill(trainer)
        elif (
            time.monotonic() - self._since > self.session.config.ray.start_timeout_s
            and not ray.wait([ready], timeout=0)[0]
        ):
            wait([ready], "the training of the index's lists", 0.0)  # says what has no place
        return self.files is not None

    def stop(self) -> None:
        if self._building:
            ray.kill(self._building[0])


class Trainer:
    """Trains one index, in a process of its own: FAISS keeps its threads."""

    async def ready(self) -> bool:
        return True

    async def train(self, *what: Any) -> ShardFiles:
        return await asyncio.to_thread(train_one, *what)


def train_one(root: str, name: str, factory: str, passages: int, store: str, places: Places) -> ShardFiles:
    """The empty index `name`, which has learnt from the vectors at `places` of a store, out of so many `passages`."""
    import faiss

    if there := finished(location(root), name):
        return there
    faiss.omp_set_num_threads(cores())
    rows = np.flatnonzero(places.known)
    known = Places(places.packs, places.pack[rows], places.row[rows])
    packs, sample = VectorStore(location(store)), np.empty((0, 0), np.float32)
    for start in range(0, len(rows), PIECE):
        piece = packs.vectors(known.of(start, min(start + PIECE, len(rows))))
        if not start:
            sample = np.empty((len(rows), piece.shape[1]), np.float32)
        sample[start : start + PIECE] = piece
    return write_trained(location(root), name, factory, sample, passages)

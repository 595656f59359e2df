"""Index of words, built: each shard's terms counted, the counts added up, each shard weighed by the sum.

The three steps are plain functions over folders that are written once, so that any executor can spread them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location
from wbrag.retrieval.index.manifest import Keywords, Manifest, ShardFiles
from wbrag.retrieval.index.shard import once, read_passages
from wbrag.retrieval.keywords.index import build, part_name
from wbrag.retrieval.keywords.statistics import FINISHED, Counts, Statistics, count

Progress = Callable[[int, int], None]
Spread = Callable[[Callable[..., Any], Location, Sequence[tuple[Any, ...]]], Iterable[Any]]  # gives results in order


def count_shard(root: Location, shard: ShardFiles, of: str = "base") -> str:
    """Count the terms of the passages in a shard of `root`, if that is not done; returns the folder of the counts."""
    name = part_name(f"{of}-terms", shard.sha256)
    if not (root / name / FINISHED).is_file():
        count(_contents(read_passages(root / shard.folder))).write(root / name)
    return name


def add_up(root: Location, counts: Sequence[str]) -> ShardFiles:
    """The statistics of the corpus whose shards have these `counts`."""
    name = part_name("statistics", sorted(counts))
    shards = (Counts.read(root / folder, rows=False) for folder in counts)

    def make() -> ShardFiles:
        found = Statistics.of(list(shards))
        return ShardFiles(name, found.passages, found.write(root / name))

    return once(root, name, make)


def weigh(root: Location, counts: str, statistics: ShardFiles, of: str = "base") -> ShardFiles:
    """The index of words of the shard with these `counts`."""
    name = part_name(f"{of}-words", counts, statistics.sha256)

    def make() -> ShardFiles:
        counted = Counts.read(root / counts)
        written = build(root / name, counted, Statistics.read(root / statistics.folder))
        return ShardFiles(name, len(counted.lengths), written)

    return once(root, name, make)


def index_words(root: Location, shards: Sequence[ShardFiles], spread: Spread, progress: Progress) -> Keywords:
    """An index of words for each of a base's `shards`; `progress` is told of passages, each of which is read twice."""
    done, total, counts, words = 0, 2 * sum(shard.count for shard in shards), [], []
    for shard, name in zip(shards, spread(count_shard, root, [(shard,) for shard in shards])):
        counts.append(name)
        progress(done := done + shard.count, total)
    statistics = add_up(root, counts)
    for part in spread(weigh, root, [(name, statistics) for name in counts]):
        words.append(part)
        progress(done := done + part.count, total)
    return Keywords(statistics, tuple(words))


def in_turn(function: Callable[..., Any], root: Location, over: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """The `Spread` of one process."""
    return (function(root, *rest) for rest in over)


def with_keywords(root: Location, manifest: Manifest, base: Manifest, of: str = "units") -> Manifest:
    """`manifest`, of units, with an index of words for each shard, weighed as the base's are; `of` begins its names."""
    if base.keywords is None:
        raise WbragError("expected an index of words of the base for retrieval.hybrid, found none: run `wbrag index`")
    statistics = base.keywords.statistics
    parts = tuple(weigh(root, count_shard(root, shard, of), statistics, of) for shard in manifest.shards)
    return replace(manifest, keywords=Keywords(statistics, parts))


def _contents(passages: pa.Table) -> Iterator[str]:
    for batch in passages.to_batches():
        for title, text in zip(batch["title"].to_pylist(), batch["text"].to_pylist()):
            yield f"{title}\n{text}"

"""The reranker: a real cross-encoder, made here, reads the best hits again; its scores do not depend on company."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_bert import save_cross_encoder
from wbrag.core.errors import WbragError
from wbrag.core.io.files import sha256_of
from wbrag.core.model_sections import RerankConfig
from wbrag.core.sections import RetrievalConfig
from wbrag.core.types import Hit, Origin, Ways
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.index.manifest import ShardFiles
from wbrag.retrieval.reranker import LocalReranker, Pair, RerankerModel, named, open_reranker, reranked
from wbrag.retrieval.retriever import IndexRetriever

WORDS = "the kite flies owl sees who".split()
PAIRS = [Pair("who flies", "the kite flies"), Pair("who sees", "the owl sees the kite"), Pair("who", "owl")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reranker") / "model"
    save_cross_encoder(path, WORDS, ["relevant"])
    return path


class Says:
    """The `Reranker` protocol: a logit for each passage's contents."""

    def __init__(self, logits: dict[str, float]) -> None:
        self.given, self.pairs = logits, list[Pair]()

    async def logits(self, pairs: Sequence[Pair]) -> list[float]:
        self.pairs += pairs
        return [self.given[pair.contents.split("\n")[1]] for pair in pairs]


class Encoder:
    async def queries(self, texts: Sequence[str]) -> Vectors:
        return np.zeros((len(texts), 2), np.float32)


class Shard:
    def __init__(self, ids: Sequence[str], origin: Origin = "base") -> None:
        self.ids, self.origin = ids, origin

    async def search(self, queries: Vectors, k: int, words: object = None, allowed: object = None) -> list[list[Hit]]:
        found = [Hit(id, "t", id, 0.9 - 0.01 * i, self.origin) for i, id in enumerate(self.ids)][:k]
        return [found for _ in queries]


def search(reads: Says, model: RerankerModel, shards: list[Shard], k: int, share: float = 1.0) -> list[Hit]:
    settings = RetrievalConfig(max_writeback_share=share)
    retriever = IndexRetriever(Encoder(), shards, settings, reranker=(reads, model))
    [hits] = asyncio.run(retriever.search(["who"], k))
    return hits


def test_its_scores_are_the_models_whatever_is_read_with_them(folder: Path) -> None:
    model = open_reranker(RerankerModel(RerankConfig(model=str(folder), batch_size=2)))
    alone = [model.read([pair])[0] for pair in PAIRS]
    assert model.read(PAIRS) == alone and model.read(PAIRS[::-1]) == alone[::-1]
    assert asyncio.run(model.logits(PAIRS)) == alone
    assert len(set(alone)) == len(alone)


def test_who_asked_first_is_answered_first() -> None:
    """A hundred questions at once are read in turn, not in one batch that all of them wait for."""
    read: list[int] = []

    class Slow:
        def predict(self, pairs: Sequence[Pair], **options: object) -> list[float]:
            read.append(len(pairs))
            return [0.0] * len(pairs)

    model, done = LocalReranker(Slow(), batch_size=5), list[int]()

    async def ask(number: int) -> None:
        await model.logits([Pair("q", str(i)) for i in range(20)])
        done.append(number)

    async def all_of() -> None:
        await asyncio.gather(*(ask(number) for number in range(6)))

    asyncio.run(all_of())
    assert max(read) == 20 and sum(read) == 120 and done == list(range(6))


def test_only_the_candidates_are_read_and_the_best_are_returned() -> None:
    ids = [f"p{i}" for i in range(9)]
    reads = Says({id: float(i) for i, id in enumerate(ids)})
    hits = search(reads, RerankerModel(RerankConfig(candidates=6)), [Shard(ids)], 2)
    assert [hit.id for hit in hits] == ["p5", "p4"] and len(reads.pairs) == 6
    assert hits[0].score == pytest.approx(1 / (1 + np.exp(-5))) and hits[0].similarity == pytest.approx(0.85)
    assert hits[0].ways == Ways(pytest.approx(0.85)) and "keywords" not in hits[0].how_found()
    assert len(search(reads, RerankerModel(RerankConfig(candidates=1)), [Shard(ids)], 3)) == 3  # never fewer than asked


def test_similarity_counts_as_much_as_was_learned() -> None:
    reads = Says({"z": 0.0, "a": 0.5})  # the nearer one comes later by its id
    by_model = search(reads, RerankerModel(RerankConfig()), [Shard(["z", "a"])], 2)
    mixed = search(reads, RerankerModel(RerankConfig(), slope=80.0), [Shard(["z", "a"])], 2)
    assert [[hit.id for hit in hits] for hits in (by_model, mixed)] == [["a", "z"], ["z", "a"]]
    assert all(0 < hit.score < 1 for hit in mixed) and mixed[0].score > mixed[1].score


def test_words_count_in_the_mixture_as_they_do_without_a_reranker() -> None:
    """Else a reranker that leans on the first pass would undo what hybrid retrieval gained."""
    near, worded = (
        Hit(id, "t", id, score, ways=Ways(similarity))
        for id, score, similarity in (("near", 0.5, 0.7), ("worded", 0.6, 0.5))
    )
    [hits] = asyncio.run(
        reranked(Says({"near": 0.1, "worded": 0.0}), RerankerModel(RerankConfig(), slope=20.0), ["q"], [[near, worded]])
    )
    assert max(hits, key=lambda hit: hit.score).id == "worded" and hits[0].ways == near.ways


def test_the_share_of_units_holds_after_the_second_look() -> None:
    reads = Says({"u1": 9.0, "u2": 8.0, "p1": 1.0, "p2": 0.5, "p3": 0.1})
    shards = [Shard(["p1", "p2", "p3"]), Shard(["u1", "u2"], "writeback")]
    hits = search(reads, RerankerModel(RerankConfig()), shards, 3, share=0.4)
    assert [hit.id for hit in hits] == ["u1", "p1", "p2"]


def test_scores_that_are_no_numbers_are_refused() -> None:
    reads = Says({"a": float("nan")})
    with pytest.raises(WbragError, match="expected finite scores from the reranker"):
        asyncio.run(reranked(reads, RerankerModel(RerankConfig()), ["q"], [[Hit("a", "t", "a", 1.0)]]))


def test_what_is_no_reranker_is_refused(tmp_path: Path) -> None:
    save_cross_encoder(tmp_path / "nli", WORDS, ["entailment", "neutral", "contradiction"])
    with pytest.raises(WbragError, match="expected a cross-encoder with one label, .* found 3"):
        open_reranker(RerankerModel(RerankConfig(model=str(tmp_path / "nli"))))
    with pytest.raises(WbragError, match="expected a reranking cross-encoder at .*: check rerank.model"):
        open_reranker(RerankerModel(RerankConfig(model=str(tmp_path / "none"))))
    assert named(RerankConfig()) is None


def test_a_trained_one_is_opened_by_its_checksums(folder: Path, tmp_path: Path) -> None:
    files = {file.name: sha256_of(file) for file in folder.iterdir()}
    model = RerankerModel(RerankConfig(), str(folder.parent), ShardFiles(folder.name, 0, files), 2.0)
    assert isinstance(open_reranker(model), LocalReranker)
    wrong = files | {"config.json": "0" * 64}
    with pytest.raises(WbragError, match=r"config.json with sha256 000000000000.*it is damaged; .* train it again"):
        open_reranker(RerankerModel(RerankConfig(), str(folder.parent), ShardFiles(folder.name, 0, wrong)))


def test_what_decides_its_scores_names_it(folder: Path) -> None:
    one = RerankerModel(RerankConfig(model=str(folder)))
    assert one.fingerprint == RerankerModel(RerankConfig(model=str(folder), batch_size=7)).fingerprint
    others = [RerankConfig(model=str(folder), candidates=7), RerankConfig(model="other"), RerankConfig()]
    assert len({one.fingerprint, *(RerankerModel(other).fingerprint for other in others)}) == 4

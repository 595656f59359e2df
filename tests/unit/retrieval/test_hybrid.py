"""Hybrid search: BM25 as its formula says, mixed exactly, and the same hits however a corpus is shared out."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.core.sections import RetrievalConfig
from wbrag.core.types import Hit, Origin
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import build_shard, open_shards
from wbrag.retrieval.index.words import in_turn, index_words, with_keywords
from wbrag.retrieval.keywords.index import K1, B
from wbrag.retrieval.keywords.terms import terms
from wbrag.retrieval.retriever import IndexRetriever, LocalShard

Vectors = npt.NDArray[np.float32]
DIMENSION = 8
COSINES = {"rare": 1.0, "near": 0.8, "mid": 0.6, "far": 0.0}  # of a text that begins with the word, to "rare"


def vector(text: str) -> Vectors:
    """A direction that depends on the text alone, coarse, so that there are ties."""
    first = text.split(" ")[0]
    if first in COSINES:
        return np.array([COSINES[first], math.sqrt(1 - COSINES[first] ** 2), *[0] * (DIMENSION - 2)], np.float32)
    found = np.random.default_rng(sum(text.encode()) % 5).standard_normal(DIMENSION)
    return (found / np.linalg.norm(found)).astype(np.float32)


class Encoder:
    async def queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([vector(text) for text in texts])


def manifest(root: Path, texts: Sequence[str], shards: int, factory: str = "SQfp16", first: str = "p") -> Manifest:
    """An index over `texts`, the n-th of them `p<n>`, dealt out to so many shards."""
    files = []
    for place in range(shards):
        own = list(range(place, len(texts), shards))
        table = pa.table(
            {"id": [f"{first}{i}" for i in own], "title": [""] * len(own), "text": [texts[i] for i in own]},
            pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())]),
        )
        vectors = np.array([vector(texts[i]) for i in own], np.float32).reshape(-1, DIMENSION)
        files.append(build_shard(root, f"{first}{shards}-{place}", factory, DIMENSION, [(vectors, table)]))
    return Manifest("encoder", "model", DIMENSION, factory, tuple(files))


def indexed(root: Path, texts: Sequence[str], shards: int, factory: str = "SQfp16") -> Manifest:
    plain = manifest(root, texts, shards, factory)
    return replace(plain, keywords=index_words(root, plain.shards, in_turn, lambda done, total: None))


def search(
    root: Path, indexes: Sequence[tuple[Manifest, Origin]], questions: Sequence[str], k: int, weight: float
) -> list[list[Hit]]:
    shards = [LocalShard(s) for m, origin in indexes for s in open_shards(root, m, origin, gpu=False)]
    return asyncio.run(IndexRetriever(Encoder(), shards, RetrievalConfig(hybrid=weight)).search(questions, k))


def bm25(question: str, texts: Sequence[str]) -> list[float]:
    """Lucene's formula, term by term, over the most that a passage could have."""
    documents = [terms(text) for text in texts]
    mean = max(sum(map(len, documents)), 1) / len(documents)
    score, most = [0.0] * len(texts), 0.0
    for term in dict.fromkeys(terms(question)):
        held = sum(term in document for document in documents)
        if not held:
            continue
        weight = math.log(1 + (len(texts) - held + 0.5) / (held + 0.5))
        most += weight
        for i, document in enumerate(documents):
            times = Counter(document)[term]
            score[i] += weight * times / (times + K1 * (1 - B + B * len(document) / mean))
    return [s / most if most else 0.0 for s in score]


TEXTS = st.lists(st.lists(st.sampled_from("a b c d e f g".split()), max_size=6).map(" ".join), min_size=7, max_size=90)
QUESTION = st.lists(st.sampled_from("a b c d zz".split()), max_size=4).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(TEXTS, QUESTION, st.integers(1, 6), st.sampled_from([0.05, 0.3, 0.7, 0.99]))
def test_hits_are_those_of_the_formula_however_the_corpus_is_shared_out(
    texts: list[str], question: str, k: int, weight: float
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        found = [search(root, [(indexed(root, texts, n), "base")], [question], k, weight)[0] for n in (1, 2, 7)]
    assert found[0] == found[1] == found[2]  # ids, scores and ways, to the last bit
    words = bm25(question, texts)
    near = [float(vector(question).astype(np.float16).astype(np.float32) @ vector(text)) for text in texts]
    best = sorted(((1 - weight) * s + weight * w for s, w in zip(near, words)), reverse=True)[:k]
    assert [hit.score for hit in found[0]] == pytest.approx(best, abs=2e-3)  # vectors are stored in float16
    for hit in found[0]:
        at = int(hit.id[1:])
        assert hit.ways and hit.ways.keywords == pytest.approx(words[at], abs=1e-5)
        assert hit.similarity == pytest.approx(near[at], abs=2e-3)
        held = hit.ways.keywords >= max(sorted(words, reverse=True)[:k][-1] - 1e-6, 1e-9)
        assert (hit.ways.found_by in ("keywords", "both")) == held


def test_a_passage_far_down_both_lists_is_found_where_the_sum_is_best(tmp_path: Path) -> None:
    """Neither way's first 64 hold it: both lists are looked at until nothing unseen can win."""
    texts = [f"near {i}" for i in range(100)] + [f"far rare rare rare {i}" for i in range(100)] + ["mid rare"]
    for shards in (1, 2):
        [hits] = search(tmp_path, [(indexed(tmp_path, texts, shards), "base")], ["rare"], 3, 0.5)
        assert hits[0].id == "p200" and hits[0].ways and hits[0].ways.found_by == "fusion"


def test_a_rare_word_finds_what_vectors_do_not(tmp_path: Path) -> None:
    texts = [f"common words number {i}" for i in range(200)] + ["the Corvane gauge"]
    index = indexed(tmp_path, texts, 2)
    [hits] = search(tmp_path, [(index, "base")], ["who designed the Corvane gauge"], 3, 0.9)
    assert hits[0].id == "p200" and hits[0].ways and hits[0].ways.found_by in ("keywords", "both")
    assert not any(hit.ways.found_by in ("keywords", "both") for hit in hits[1:] if hit.ways)  # they hold no word of it


def test_vectors_alone_are_what_they_were(tmp_path: Path) -> None:
    index = indexed(tmp_path, [f"text {i}" for i in range(20)], 2)
    [hits] = search(tmp_path, [(index, "base")], ["text 3"], 5, 0.0)
    assert all(hit.ways is None and hit.similarity == hit.score for hit in hits)


def test_units_are_weighed_by_the_words_of_the_corpus(tmp_path: Path) -> None:
    texts = [f"passage about thing{i % 9}" for i in range(30)]
    base = indexed(tmp_path, texts, 2)
    units = with_keywords(tmp_path, manifest(tmp_path, ["thing3 explained", "an unheardof word"], 1, first="wb-"), base)
    assert units.keywords and base.keywords and units.keywords.statistics == base.keywords.statistics
    [hits] = search(tmp_path, [(base, "base"), (units, "writeback")], ["thing3"], 4, 0.9)
    assert hits[0].id == "wb-0" and hits[0].origin == "writeback"  # the shortest text with the word
    [hits] = search(tmp_path, [(base, "base"), (units, "writeback")], ["unheardof"], 4, 0.9)
    assert all(hit.ways and hit.ways.keywords == 0 for hit in hits)  # no passage of the corpus holds it: no weight


def test_units_beside_a_base_without_words_are_refused(tmp_path: Path) -> None:
    base = manifest(tmp_path, ["a", "b"], 1)
    with pytest.raises(WbragError, match=r"expected an index of words of the base .*found none: run `wbrag index`"):
        with_keywords(tmp_path, manifest(tmp_path, ["c"], 1, first="wb-"), base)


@pytest.mark.parametrize("factory", ["IVF4,SQfp16", "SQ8"])
def test_a_compressed_index_is_searched_by_words_too(tmp_path: Path, factory: str) -> None:
    texts = [f"passage {i} about w{i}" for i in range(300)]
    [hits] = search(tmp_path, [(indexed(tmp_path, texts, 1, factory), "base")], ["w217"], 3, 0.9)
    assert hits[0].id == "p217"


def test_texts_without_words_and_empty_shards_are_searched(tmp_path: Path) -> None:
    for texts in (["", " "], []):
        [hits] = search(tmp_path, [(indexed(tmp_path, texts, 1), "base")], ["anything"], 3, 0.5)
        assert len(hits) == len(texts)
    [hits] = search(tmp_path, [(indexed(tmp_path, ["a b", "c"], 1), "base")], ["?"], 3, 0.5)
    assert len(hits) == 2 and all(hit.ways and hit.ways.found_by == "vectors" for hit in hits)


def test_a_damaged_index_of_words_is_refused(tmp_path: Path) -> None:
    index = indexed(tmp_path, ["a b", "c d"], 1)
    assert index.keywords
    file = tmp_path / index.keywords.shards[0].folder / "data.csc.index.npy"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(WbragError, match=r"data.csc.index.npy with sha256 .* is damaged"):
        open_shards(tmp_path, index, "base", gpu=False)


def test_what_is_finished_is_not_built_again(tmp_path: Path) -> None:
    index = indexed(tmp_path, ["a b", "c d"], 1)
    assert index.keywords
    file = tmp_path / index.keywords.shards[0].folder / "terms.npy"
    before = file.stat().st_mtime_ns
    assert indexed(tmp_path, ["a b", "c d"], 1).keywords == index.keywords
    assert file.stat().st_mtime_ns == before


def test_a_manifest_with_words_comes_back_and_one_without_is_as_it_was(tmp_path: Path) -> None:
    index = indexed(tmp_path, ["a b", "c d", "e"], 2)
    assert Manifest.read(tmp_path / "m.json", index.write(tmp_path / "m.json")) == index
    assert index.only(1).keywords and index.only(1).shards == index.shards[1:]
    plain = manifest(tmp_path, ["a b"], 1)
    plain.write(tmp_path / "plain.json")
    assert "keywords" not in (tmp_path / "plain.json").read_text()
    assert plain.name != index.name

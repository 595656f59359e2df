"""Keyword index: BM25 over one shard's passages, memory-mapped, weighed by the whole corpus's statistics (bm25s).

A passage's score depends on its own text and the corpus alone, so it is the same however the corpus is shared out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, digests, folder_in_one_step
from wbrag.retrieval.keywords.statistics import Counts, Statistics, load
from wbrag.retrieval.keywords.terms import numbers, terms

VERSION = 1  # raised whenever the same texts would give other terms or other scores
K1, B = 1.2, 0.75  # Lucene's

Floats = npt.NDArray[np.float32]


def build(folder: Location, counts: Counts, statistics: Statistics) -> dict[str, str]:
    """Write the index of a shard with these `counts` to `folder`; returns the sha256 of each file."""
    import bm25s

    entries = np.diff(counts.starts)
    sizes = (K1 * (1 - B + B * counts.lengths / statistics.mean_length)).astype(np.float32)  # half of the memory
    times = counts.times.astype(np.float32)
    weights = np.repeat(statistics.weights(counts.terms), entries)
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.scores = {
        "data": weights * (times / (times + sizes[counts.rows])),
        "indices": counts.rows,
        "indptr": counts.starts,
        "num_docs": len(counts.lengths),
    }
    index.vocab_dict, index.nonoccurrence_array = {}, None  # terms are numbers, in an array beside it
    with folder_in_one_step(folder) as scratch:
        index.save(scratch, show_progress=False)
        np.save(scratch / "terms.npy", counts.terms, allow_pickle=False)
        return digests(scratch)


def part_name(kind: str, *made_of: Any) -> str:
    """The folder of what was made of these shards: equal for equal contents."""
    return f"{kind}-{fingerprint(VERSION, *made_of)}"


@dataclass(frozen=True)
class KeywordIndex:
    """One shard's, from files that have been verified."""

    index: Any  # bm25s.BM25
    terms: npt.NDArray[np.uint64]
    statistics: Statistics

    @staticmethod
    def open(folder: Path, statistics: Path) -> KeywordIndex:
        import bm25s

        index = bm25s.BM25.load(folder, mmap=True, load_vocab=False)
        return KeywordIndex(index, load(folder, "terms"), Statistics.read(statistics))

    def scores(self, question: str) -> Floats:
        """Of every passage [n], in [0, 1): BM25 over the most that a passage could have for this question."""
        asked = numbers(list(dict.fromkeys(terms(question))))
        most = float(self.statistics.weights(asked).sum())
        if not most or not len(self.terms):
            return np.zeros(self.index.scores["num_docs"], np.float32)
        at = np.minimum(np.searchsorted(self.terms, asked), len(self.terms) - 1)
        found: Floats = self.index.get_scores_from_ids(at[self.terms[at] == asked])
        return found / np.float32(most)

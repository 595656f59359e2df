"""Passages a second: wbrag's encoder against plain sentence-transformers, `python benchmarks/embedding.py [--quick]`.

The same MiniLM weights, the same cores, the same passages, in turn. Plain is `SentenceTransformer.encode` as it comes:
batches of 32, sorted by length, float32. wbrag's is what `wbrag index` calls, a block at a time. Their difference is
taken apart: the same in float32, so that only the batches differ. `--corpus FILE.jsonl[.gz]` (rows with `contents`)
takes other passages than the demo's.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lib.measured import Figure, arguments, record

from wbrag.core.model_sections import EncoderConfig
from wbrag.data.demo.facts import demo_world
from wbrag.retrieval.encoder import Encoder, Vectors

ROUNDS = 3  # of each way, in turn; the quickest counts


def demo() -> list[str]:
    return [found.passage.contents for found in demo_world().passages]


def read(file: Path) -> list[str]:
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["contents"] for line in islice(lines, 20_000)]


def fastest(ways: dict[str, Callable[[Sequence[str]], Vectors]], texts: Sequence[str]) -> dict[str, float]:
    """Passages a second of each way: of `ROUNDS` rounds the best."""
    for way in ways.values():
        way(texts[:16])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(texts)
            seconds[name].append(time.perf_counter() - start)
    return {name: len(texts) / min(found) for name, found in seconds.items()}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--corpus", type=Path, help="passages to encode in place of the demo's")
    given = parser.parse_args()
    texts = read(given.corpus) if given.corpus else demo()
    count = 48 if given.quick else 384
    texts = texts[:: max(1, len(texts) // count)][:count]  # spread over the corpus
    ours, same = Encoder(EncoderConfig()), Encoder(EncoderConfig(dtype="float32"))

    def plain(some: Sequence[str]) -> Vectors:
        """Its model is wbrag's own float32 one: the weights, and the tokens that are read, are equal."""
        return np.asarray(same.model.encode(list(some), normalize_embeddings=True))

    speed = fastest({"plain": plain, "wbrag": ours.encode_passages, "float32": same.encode_passages}, texts)
    cosine = (plain(texts) * ours.encode_passages(texts)).sum(axis=1)
    dtype = str(next(ours.passage_model.parameters()).dtype).removeprefix("torch.")
    figures = [
        Figure("plain sentence-transformers", speed["plain"], "passages/s"),
        Figure(f"wbrag, {dtype}", speed["wbrag"], "passages/s"),
        Figure("wbrag in float32: its batches alone / plain", speed["float32"] / speed["plain"]),
        Figure(
            "wbrag / plain sentence-transformers",
            speed["wbrag"] / speed["plain"],
            target=1.3,
            short="Embedding passages over plain sentence-transformers",
        ),
        Figure("least cosine of a passage's two vectors", float(cosine.min()), "", target=0.999),
    ]
    words = sum(len(text.split()) for text in texts) / len(texts)
    source = given.corpus.name if given.corpus else "the demo"
    about = f"{len(texts)} passages of {source}, {words:.0f} words each, MiniLM, {torch.get_num_threads()} threads."
    record("embedding", "python benchmarks/embedding.py", figures, about, quick=given.quick, note=given.note)


if __name__ == "__main__":
    main()

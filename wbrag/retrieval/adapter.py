"""Query adapter: a trained low-rank residual on a question's vector, over an index that stays as it is.

`q' = norm(q + B A q)`: with B = 0 it is the base retriever. Passages and units keep their vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wbrag.core.errors import WbragError
from wbrag.retrieval.encoder import QueryEncoder, Vectors


@dataclass(frozen=True)
class Adapter:
    """`down` is A [r, d], `up` is B [d, r], both float32."""

    down: Vectors
    up: Vectors

    def __call__(self, vectors: Vectors) -> Vectors:
        """Adapted vectors [n, d] of unit length; each alone, so that none depends on which came with it."""
        moved = np.stack([vector + self.up @ (self.down @ vector) for vector in vectors]) if len(vectors) else vectors
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        return np.ascontiguousarray(moved / np.maximum(length, 1e-12), dtype=np.float32)

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights."""
        return hashlib.sha256(self.down.tobytes() + self.up.tobytes()).hexdigest()[:12]

    def save(self, file: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"down": np.ascontiguousarray(self.down), "up": np.ascontiguousarray(self.up)}, file)

    @staticmethod
    def read(raw: bytes, file: str, dimension: int) -> Adapter:
        """What `save` wrote. Raises `WbragError` for what is no adapter of vectors of `dimension`."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            found = load(raw)
            down, up = found["down"].astype(np.float32), found["up"].astype(np.float32)
        except (SafetensorError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WbragError(f"expected an adapter in {file}, found {reason}: train it again") from None
        if down.ndim != 2 or down.shape != up.T.shape or down.shape[1] != dimension:
            raise WbragError(
                f"expected an adapter of vectors of {dimension} dimensions in {file}, found {down.shape} and "
                f"{up.shape}: train one for this encoder"
            )
        if not (np.isfinite(down).all() and np.isfinite(up).all()):
            raise WbragError(f"expected finite weights in {file}, found others: train it again")
        return Adapter(down, up)


class AdaptedEncoder:
    """An encoder of questions, whose vectors pass the adapter."""

    def __init__(self, encoder: QueryEncoder, adapter: Adapter) -> None:
        self.encoder, self.adapter = encoder, adapter

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return self.adapter(await self.encoder.queries(texts))


def adapted(encoder: QueryEncoder, adapter: Adapter | None) -> QueryEncoder:
    """The encoder as a release's retriever asks it."""
    return encoder if adapter is None else AdaptedEncoder(encoder, adapter)

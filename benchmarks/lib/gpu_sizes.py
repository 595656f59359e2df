"""Sizes of the GPU benchmark's parts; nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("encoder", "search", "enrichment")


@dataclass(frozen=True)
class Size:
    model: str  # `lib.paper_sized`'s name of it
    examples: int
    passages: int
    in_flight: int  # requests
    vectors: int
    factories: tuple[str, ...]
    encoded: int  # passages, of the encoder's part
    layers: int  # of its model
    quantization: str = ""


WHOLE = Size("LLAMA_8B", 3000, 20_000, 512, 1_000_000, ("SQfp16", "IVF1024,SQfp16"), 40_000, 12)
QUICK = Size("TINY", 100, 300, 128, 50_000, ("SQfp16", "IVF64,SQfp16"), 256, 2)

"""Encoder, search and enrichment on a GPU: `python benchmarks/gpu.py [encoder] [search] [enrichment] [--quick]`.

Three parts, all by default, each alone under four minutes on one H200; every figure is printed as it comes, and with
`--out FOLDER` kept there at once. `encoder` needs torch and sentence-transformers alone: passages a second, in a model
of E5-base's shape with random weights, which compute as fast as real ones, and in the embedded one where its wheel is.
`search` needs FAISS for GPUs: the shard of `wbrag index` on the CPU and on the GPU. `enrichment` needs the whole set:
a job at the sizes and shares of the paper's Natural Questions over one vLLM engine with a model of Llama 3.1 8B's shape
and dummy weights (`lib/paper_sized.py` says how a reply comes about all the same), and beside it the bare engine with
the same prompts and lengths.

`--quick` runs the same code anywhere, with tiny models: there a pass shows what a call costs the host.
"""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from lib.gpu_sizes import PARTS, QUICK, WHOLE, Size
from lib.measured import arguments, as_they_come, record
from lib.nvidia import watched


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quantization", help="vLLM's name of one, such as fp8; default: bfloat16 weights")
    parser.add_argument("--examples", type=int, help=f"default: {WHOLE.examples:,}, and {QUICK.examples} with --quick")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep each figure here as soon as it is there")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        raise SystemExit(f"expected parts of {', '.join(PARTS)}, found {', '.join(sorted(unknown))}: name one of those")
    if not (given.quick or torch.cuda.is_available()):
        raise SystemExit("expected a GPU, found none: run this where there is one, or see that it works with --quick")
    size = QUICK if given.quick else WHOLE
    size = replace(size, examples=given.examples or size.examples, quantization=given.quantization or "")
    for part in given.parts or PARTS:
        run(part, size, given.out, quick=given.quick, note=given.note)


def run(part: str, size: Size, out: Path | None, *, quick: bool, note: str) -> None:
    """One part, whose own libraries are loaded now."""
    module = importlib.import_module(f"lib.gpu_{part}")
    with tempfile.TemporaryDirectory() as scratch, watched() as gpu:
        figures = as_they_come(f"gpu-{part}", module.figures(size, Path(scratch), gpu), out)
    about = f"{module.about(size)}, {gpu.name or 'no GPU'}."
    record(f"gpu-{part}", f"python benchmarks/gpu.py {part}", figures, about, quick=quick, note=note)


if __name__ == "__main__":
    main()

"""FAISS index construction: training, and filling from vectors that come in pieces.

Memory holds the finished index and one piece. A `std::vector` that grows by doubling holds up to three times what is
in it while it moves, so room is reserved first: all of it where the index is flat, each inverted list's own where it
has lists, whose lengths are known once every vector has been assigned.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wbrag.core.errors import UsageError, WbragError

POINTS_PER_CENTROID = 64  # FAISS warns below 39, and takes at most 256
FEWEST_CENTROIDS = 1024  # the sample is as large as for so many: product quantizers learn from it too
RUN = 128  # rows of the training sample that lie together, so that it is read in pieces
PIECE = 4_096  # vectors held as float32 at a time
WRITE_BYTES = 1 << 20  # bytes of an index that go to its file in one piece
ANY = 3840  # a dimension that whatever cuts vectors in pieces can cut
PROBED_LISTS = 64  # of an IVF index, per query; FAISS's own default is 1, and it is stored with the index

Array = npt.NDArray[Any]


def new_index(factory: str, dimension: int) -> Any:
    """An empty FAISS index for inner products."""
    import faiss

    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError:
        raise UsageError(
            f"expected a FAISS factory string in index.factory, found {factory!r}: try SQfp16, Flat or IVF1024,SQfp16"
        ) from None
    if (lists := faiss.try_extract_index_ivf(index)) is not None:
        lists.nprobe = PROBED_LISTS
    return index


def reserve(index: Any, count: int) -> None:
    """Set aside the room for `count` vectors of a flat index, whose codes lie in one piece."""
    if hasattr(index, "codes"):
        index.codes.resize(count * index.code_size)
        index.codes.resize(0)  # its capacity stays


def add_exact(index: Any, vectors: Array) -> None:
    """Add `vectors` [n, d] to a flat index; float16 ones are SQfp16's codes as they are."""
    import faiss

    if isinstance(index, faiss.IndexScalarQuantizer) and vectors.dtype == np.float16:
        index.add_sa_codes(np.ascontiguousarray(vectors).view(np.uint8))
    else:
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))


def fill(index: Any, file: Path, count: int) -> None:
    """Add the `count` float16 vectors that `file` holds row after row; first an untrained index learns from them."""
    import faiss

    if not index.is_trained:
        train(index, _sample(file, count, index.d, _sample_of(index)), count)
    if not isinstance(index, faiss.IndexIVF):
        reserve(index, count)
        for _, vectors in _pieces(file, count, index.d):
            index.add(vectors)
        return
    lists: Any = index.invlists
    assigned = np.empty(count, np.int64)
    for rows, vectors in _pieces(file, count, index.d):
        assigned[rows] = index.quantizer.search(vectors, 1)[1][:, 0]
    for number, length in enumerate(np.bincount(assigned, minlength=index.nlist).tolist()):
        lists.resize(number, length)
        lists.resize(number, 0)
    for rows, vectors in _pieces(file, count, index.d):
        index.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(assigned[rows]))


def write_index(index: Any, path: Path) -> None:
    """Write `index` to `path`. FAISS's own writer only prints that a disk is full, and leaves half of a file."""
    import faiss

    failed: list[OSError] = []

    def write(piece: bytes) -> int:
        try:
            return file.write(piece)
        except OSError as error:
            failed.append(error)
            raise

    with path.open("wb") as file:
        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write, WRITE_BYTES))  # type: ignore[attr-defined]
        except RuntimeError:  # FAISS's word for whatever the callback raised
            raise failed[0] if failed else RuntimeError(f"FAISS could not write {path}") from None


def trained_on(factory: str, dimension: int) -> int:
    """How many vectors at most an index of this kind is trained on; 0 for one that needs no training."""
    index = new_index(factory, dimension)
    return 0 if index.is_trained else _sample_of(index)


@cache
def learns(factory: str) -> bool:
    """Whether an index of this kind is trained at all; one that FAISS does not know is refused where it is made."""
    try:
        return not new_index(factory, ANY).is_trained
    except UsageError:
        return True


def runs(count: int, wanted: int) -> list[tuple[int, int]]:
    """Rows [start, stop) that lie together, spread over `count` of them: about `wanted`, no row twice."""
    if not count:
        return []
    starts = np.linspace(0, max(0, count - RUN), -(-min(count, wanted) // RUN)).astype(np.int64).tolist()
    return [(start, min(start + RUN, after)) for start, after in zip(starts, [*starts[1:], count], strict=True)]


def train(index: Any, sample: Array, count: int) -> None:
    """Train `index` on `sample` [n, d] float32, out of `count` vectors."""
    import faiss

    try:
        if isinstance(index, faiss.IndexIVF) and _learns_nothing(index):
            lists: Any = index
            lists.train_q1(len(sample), faiss.swig_ptr(sample), False, index.metric_type)
            sample = sample[:RUN]  # FAISS would make residuals of all of it, as much again, and learn nothing from them
        index.train(sample)
    except RuntimeError:
        raise WbragError(
            f"expected more passages in an index than its index.factory has centroids, found {count}: "
            "choose fewer centroids or SQfp16"
        ) from None


def _sample_of(index: Any) -> int:
    import faiss

    lists = faiss.try_extract_index_ivf(index)
    return POINTS_PER_CENTROID * max(FEWEST_CENTROIDS, 0 if lists is None else int(lists.nlist))


def _learns_nothing(index: Any) -> bool:
    """Whether vectors are stored in the lists of `index` as they are, in 32 or 16 bits."""
    import faiss

    coded = isinstance(index, faiss.IndexIVFScalarQuantizer) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
    return coded or isinstance(index, faiss.IndexIVFFlat)


def _sample(file: Path, count: int, dimension: int, wanted: int) -> Array:
    found = runs(count, wanted)
    sample, size = np.empty((sum(stop - start for start, stop in found), dimension), np.float32), 0
    for start, stop in found:
        sample[size : size + stop - start] = _read(file, start, stop, dimension)
        size += stop - start
    return sample


def _pieces(file: Path, count: int, dimension: int) -> Iterator[tuple[slice, Array]]:
    """Row numbers, and their vectors as float32."""
    for start in range(0, count, PIECE):
        rows = slice(start, min(start + PIECE, count))
        yield rows, _read(file, rows.start, rows.stop, dimension)


def _read(file: Path, start: int, stop: int, dimension: int) -> Array:
    values = np.fromfile(file, np.float16, (stop - start) * dimension, offset=start * dimension * 2)
    return values.astype(np.float32).reshape(-1, dimension)

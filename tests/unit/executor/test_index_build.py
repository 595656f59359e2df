"""The pieces of the Ray hosts that need no Ray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.enrich.enrich import Verdict
from wbrag.enrich.row_files import read_rows, write_rows
from wbrag.enrich.rows import verdict_row
from wbrag.executor.ray.corpus_blocks import CorpusBlock, assign, new_pieces, plan, share
from wbrag.retrieval.index.vector_store import text_keys


@given(st.integers(1, 200), st.integers(1, 12))
def test_every_block_goes_to_exactly_one_shard_in_order(blocks: int, shards: int) -> None:
    rows = [CorpusBlock("f.parquet", i, i + 1) for i in range(blocks)]
    assigned = assign(rows, shards)
    assert [b for mine in assigned for b in mine] == rows
    assert all(assigned) and len(assigned) == min(shards, blocks)
    assert max(map(len, assigned)) - min(map(len, assigned)) <= 1


def test_a_plan_covers_the_corpus_and_reads_it_back(tmp_path: Path) -> None:
    for part, count in enumerate((7, 5)):
        table = pa.table({name: [f"{name}{part}-{i}" for i in range(count)] for name in ("id", "title", "text")})
        pq.write_table(table, tmp_path / f"part-{part}.parquet", row_group_size=3)
    blocks = plan(tmp_path, block_rows=4, shards=1)
    ids = [id for block in blocks for id in block.read()["id"].to_pylist()]
    assert ids == [f"id0-{i}" for i in range(7)] + [f"id1-{i}" for i in range(5)]
    with pytest.raises(WbragError, match="wbrag ingest corpus"):
        plan(tmp_path / "none", 4, 1)


@pytest.mark.parametrize("more", [-10, 10, 30])
def test_blocks_of_files_that_did_not_change_stay(tmp_path: Path, more: int) -> None:
    """Their size goes by the corpus's, which every passage that comes or goes changes."""
    for part in range(4):
        write_part(tmp_path, part, 50)
    shards = assign(plan(tmp_path, block_rows=4096, shards=4), 4)
    last = [[block.place for block in mine] for mine in shards]
    write_part(tmp_path, 3, 50 + more)
    found = share(plan(tmp_path, 4096, 4, last), 4, last)
    assert found[:3] == shards[:3] and found[3] != shards[3]
    assert max(block.rows for block in plan(tmp_path, 5, 4, last)) == 5, "a lower index.block_rows counts"
    for part in range(4, 40):
        write_part(tmp_path, part, 50)
    grown = plan(tmp_path, 4096, 4, last)
    assert max(block.rows for block in grown) > 20, "a corpus ten times as large has larger blocks"


def write_part(folder: Path, number: int, rows: int) -> None:
    table = pa.table({name: [f"{name}{number}-{i}" for i in range(rows)] for name in ("id", "title", "text")})
    pq.write_table(table, folder / f"part-{number:02}.parquet")


def row(id: str, **more: object) -> dict[str, object]:
    return json.loads(json.dumps(verdict_row(Verdict(id, "who?", "qa", False, "retrieval did not help", 0.0, **more))))  # type: ignore[arg-type, no-any-return]


def test_rows_survive_the_trip_and_a_later_success_replaces_an_error(tmp_path: Path) -> None:
    write_rows(tmp_path, "enrich", [row("a", hit_ids=("p1",), hit_scores=(0.5,)), row("b", error="time-out")])
    write_rows(tmp_path, "enrich", [row("b")])
    write_rows(tmp_path, "enrich", [row("a", error="late")])
    (tmp_path / ".half.tmp").write_bytes(b"PAR1 half a file")
    rows = read_rows(tmp_path, "enrich")
    assert sorted(rows) == ["a", "b"] and not rows["a"]["error"] and not rows["b"]["error"]
    assert rows["a"]["hit_ids"] == ["p1"] and rows["a"]["s_rag"] is None


def corpus_blocks(sizes: dict[str, int], block: int) -> list[CorpusBlock]:
    return [
        CorpusBlock(file, start, min(start + block, rows))
        for file, rows in sizes.items()
        for start in range(0, rows, block)
    ]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.lists(st.integers(-5, 5), min_size=6, max_size=6),
    st.integers(1, 4),
    st.integers(1, 12),
)
def test_blocks_stay_in_their_shards(sizes: list[int], changes: list[int], shards: int, block: int) -> None:
    before = {f"part-{i}.parquet": rows for i, rows in enumerate(sizes)}
    first = share(corpus_blocks(before, block), shards, None)
    last = [[b.place for b in mine] for mine in first]
    assert share(corpus_blocks(before, block), shards, last) == first
    after = {name: max(1, rows + change) for (name, rows), change in zip(before.items(), changes, strict=False)}
    blocks = corpus_blocks(after | {"part-9.parquet": 3}, block)
    found = share(blocks, shards, last)
    assert sorted(b.place for mine in found for b in mine) == sorted(b.place for b in blocks)
    assert all(found)
    if found != assign(blocks, shards):
        kept = [place for mine in found for place in [b.place for b in mine] if place in {p for m in last for p in m}]
        where = {place: number for number, mine in enumerate(last) for place in mine}
        assert all(
            where[place] == n for n, mine in enumerate(found) for place in [b.place for b in mine] if place in kept
        )


def test_only_what_is_new_is_embedded() -> None:
    blocks = [CorpusBlock("f", start, start + 4) for start in range(0, 16, 4)]
    keys = text_keys([f"text {i}" for i in range(16)])
    known = np.ones(16, bool)
    assert list(new_pieces(blocks, keys, known, 4)) == []
    known[[1, 6, 7]] = False
    known[12:] = False
    found = list(new_pieces(blocks, keys, known, 2))
    assert [piece.parts for piece in found] == [
        ((blocks[0], (1,)), (blocks[1], (2, 3))),
        ((blocks[3], None),),
    ]
    assert [piece.keys.tolist() for piece in found] == [keys[[1, 6, 7]].tolist(), keys[12:].tolist()]
    assert len({piece.name for piece in found}) == 2

"""Exported units, read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from wbrag.cli.main import main
from wbrag.core.config import load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.types import Evidence, Unit
from wbrag.data import ingest_corpus
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.units.export import export_units
from wbrag.units.layout import Layout
from wbrag.units.publish import Stock, propose

CONFIG = load(retriever={"kind": "http", "options": {"url": "http://127.0.0.1:9/"}})  # a release needs no base here


def unit(number: int) -> Unit:
    source = (f"p{number}", "hash")
    evidence = Evidence(f"p{number}", f"Text {number}.")
    return Unit(f"Title {number}", f"Text {number}, “quoted”.", (f"q{number}",), (source,), (evidence,), {"s_rag": 1.0})


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    """Four units: two in a release, one rejected, one a candidate."""
    made, units = Layout(tmp_path / "w", CONFIG), [unit(i) for i in range(4)]
    encoder = encoder_fingerprint(CONFIG.encoder)
    made.shelf.add(units, np.eye(4, dtype=np.float32), encoder, 0.97)
    made.decisions.decide([u.id for u in units[:2]], "approved", by="ann", why="read it")
    made.decisions.decide([units[2].id], "rejected", by="ann", why="wrong date")
    stock = Stock(made.shelf, made.shelf.version, sorted(unit.id for unit in units[:2]))
    made.releases.append(propose(CONFIG, made.path, stock, [], None, "x"))
    return made


def test_jsonl_holds_the_whole_provenance(store: Layout, tmp_path: Path) -> None:
    out = tmp_path / "new" / "units.jsonl"
    told = export_units(store, out)
    assert told == {"units": 2, "of": "r0001", "format": "jsonl", "file": str(out)}
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["id"] for row in rows} == {unit(0).id, unit(1).id}
    row = next(row for row in rows if row["id"] == unit(1).id)
    assert (row["title"], row["text"], row["question_ids"]) == ("Title 1", "Text 1, “quoted”.", ["q1"])
    assert row["sources"] == [{"id": "p1", "content_hash": "hash"}] and row["scores"] == {"s_rag": 1.0}
    assert row["evidence"] == [{"passage_id": "p1", "sentence": "Text 1."}] and "vector" not in row
    [step] = row["decisions"]
    assert (row["state"], step["state"], step["by"], step["why"]) == ("approved", "approved", "ann", "read it")


def test_parquet_holds_the_vectors_too(store: Layout, tmp_path: Path) -> None:
    export_units(store, tmp_path / "units.parquet", "parquet", state="rejected")
    [row] = pq.read_table(tmp_path / "units.parquet").to_pylist()
    assert row["id"] == unit(2).id and row["vector"] == [0.0, 0.0, 1.0, 0.0] and row["state"] == "rejected"
    assert row["encoder"] == encoder_fingerprint(CONFIG.encoder)


def test_flashrag_is_a_corpus_that_wbrag_reads(store: Layout, tmp_path: Path) -> None:
    export_units(store, tmp_path / "units.jsonl", "flashrag", state="candidate")
    ingest_corpus(tmp_path / "units.jsonl", tmp_path / "corpus", format="flashrag")
    [row] = pq.read_table(tmp_path / "corpus").to_pylist()
    assert (row["id"], row["title"], row["text"]) == (unit(3).id, unit(3).title, unit(3).text)


def test_wrong_requests_write_nothing(store: Layout, tmp_path: Path) -> None:
    with pytest.raises(WbragError, match="r0009"):
        export_units(store, tmp_path / "x", release="r0009")
    with pytest.raises(UsageError, match="did you mean 'jsonl'"):
        export_units(store, tmp_path / "x", "jsonlines")  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


def test_the_verb(store: Layout, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = ["export", "units", "--workspace", str(store.path), "--out", str(tmp_path / "u"), "--json"]
    assert main([*line, "--format", "flashrag", "--state", "candidate"]) == 0
    assert json.loads(capfd.readouterr().out)["units"] == 1
    assert main(["push", "--workspace", str(store.path)]) == 2
    assert "set retriever.kind" in capfd.readouterr().err

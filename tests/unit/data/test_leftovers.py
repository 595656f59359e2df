"""What exporters leave in files: bytes of another encoding, half pairs, controls, words for nothing, floats for ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wbrag.core.errors import WbragError
from wbrag.data.beir import beir_qrels
from wbrag.data.ingest import IngestResult, ingest_corpus, ingest_examples
from wbrag.data.records import is_blank


def read(tmp_path: Path, name: str, raw: bytes, format: str = "jsonl", **how: Any) -> tuple[IngestResult, list[Any]]:
    (tmp_path / name).write_bytes(raw)
    found = ingest_corpus(tmp_path / name, tmp_path / "corpus", format=format, **how)
    return found, pq.read_table(tmp_path / "corpus").to_pylist()


def test_bytes_that_are_no_utf8_are_refused_in_an_array_too(tmp_path: Path) -> None:
    raw = '[{"id": "1", "text": "good"}, {"id": "2", "text": "Müller"}, {"id": "3", "text": "last"}]'.encode("latin-1")
    with pytest.raises(WbragError, match=r"item 2: expected UTF-8 text, found the byte 0xfc .*; convert the file"):
        read(tmp_path, "c.json", raw)
    found, rows = read(tmp_path, "c.json", raw, on_bad="skip")
    assert [row["id"] for row in rows] == ["1", "3"] and found.quarantined == 1 and found.mended == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8"])
@pytest.mark.parametrize("name", ["c.jsonl", "c.json", "c.csv", "c.tsv"])
def test_half_a_pair_is_mended_and_counted_in_every_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    texts = ["one \ud83d two", "whole \U0001f600", "plain", "low \udc99 half", "\ud83d\ude00 by halves"]
    if name.endswith(("csv", "tsv")):
        mark = "," if name.endswith("csv") else "\t"
        text = "\n".join([f"id{mark}text", *(f"{i}{mark}{text}" for i, text in enumerate(texts))])
    else:
        parts = [f'{{"id": "{i}", "text": "{text}"}}' for i, text in enumerate(texts)]
        text = "\n".join(parts) if name.endswith("jsonl") else f"[{', '.join(parts)}]"
    raw = text.encode(encoding, "surrogatepass")
    found, rows = read(tmp_path, name, raw, name.partition(".")[2].replace("json", "jsonl").replace("jsonll", "jsonl"))
    assert [row["text"] for row in rows] == ["one � two", "whole 😀", "plain", "low � half", "😀 by halves"]
    assert found.mended == 2 and found.quarantined == 0


@pytest.mark.parametrize("array", [False, True])
def test_controls_in_a_text_of_json_end_nothing(tmp_path: Path, array: bool) -> None:
    parts = ['{"id": "1", "text": "a\0b"}', '{"id": "2", "text": "tab\there"}']
    found, rows = read(tmp_path, "c.json", (f"[{', '.join(parts)}]" if array else "\n".join(parts)).encode())
    assert [row["text"] for row in rows] == ["ab", "tab\there"] and found.mended == 1


@pytest.mark.parametrize(("format", "mark"), [("csv", ","), ("tsv", "\t")])
def test_words_for_nothing_in_a_table(tmp_path: Path, format: str, mark: str) -> None:
    lines = [
        "id,title,text",
        "12.0,nan,The mill.",
        "13.0,None,The lamp.",
        "14,Nan,nan",
        "15,T,NULL",
        "1.10,T,Edition 1.0",
    ]
    raw = "\n".join(line.replace(",", mark) for line in lines).encode()
    found, rows = read(tmp_path, f"c.{format}", raw, format)
    assert [(row["id"], row["title"], row["text"]) for row in rows] == [
        ("12", "", "The mill."),
        ("13", "", "The lamp."),
        ("1.10", "T", "Edition 1.0"),
    ]
    assert found.left_out == {"no text": 2}


def test_an_answer_may_be_none(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("question,golden_answers\nHow many?,None\nWho?,nan\n,Ada\n")
    found = ingest_examples(tmp_path / "q.csv", tmp_path / "q.parquet", format="csv", task="qa")
    assert pq.read_table(tmp_path / "q.parquet")["golden_answers"].to_pylist() == [["None"]]
    assert found.left_out == {"no golden answer": 1, "no question": 1}, "an empty question ends nothing"


def test_a_map_is_no_text(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.string())
    pq.write_table(pa.table({"id": ["1"], "text": pa.array([[("en", "Hello")]], kind)}), tmp_path / "c.parquet")
    with pytest.raises(WbragError, match="found an object with en; name the part that holds it"):
        ingest_corpus(tmp_path / "c.parquet", tmp_path / "corpus", format="parquet")


@pytest.mark.parametrize("packed", ["test.tsv.zst", "test.tsv.gz", "test.tsv.bz2", "test.tsv.xz"])
def test_packed_qrels_are_read(tmp_path: Path, packed: str) -> None:
    import bz2
    import gzip
    import lzma

    def zst(raw: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(raw)
        return bytes(sink.getvalue())

    pack = {"zst": zst, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    (tmp_path / packed).write_bytes(pack[packed.rpartition(".")[2]](b"query-id\tcorpus-id\tscore\nq1\td1\t1\n"))
    assert beir_qrels(tmp_path) == {"q1": {"d1": 1}}


@pytest.mark.parametrize("text", ["", " \n", "\u2028\u00ad\u180e", "\u3164", "\u200b\ufeff", "\u2800", "\u202e\u2066"])
def test_what_cannot_be_seen_is_blank(text: str) -> None:
    assert is_blank(text) and not is_blank(f"{text}a") and not is_blank(f"{text}。")


def test_the_public_metrics() -> None:
    from wbrag.metrics import acc, em, f1

    assert (em("The Mill", ["mill"]), acc("it is the mill", ["Mill"]), f1("mill", ["the mill"])) == (1, 1, 1)
    assert json.dumps([acc("x", ["y"])]) == "[0.0]"


def test_a_narrow_number_is_what_was_written(tmp_path: Path) -> None:
    numbers = pa.array([0.1, None, 3.0, 2.5e-7], pa.float32())
    pq.write_table(pa.table({"id": ["a", "b", "c", "d"], "title": ["t"] * 4, "text": numbers}), tmp_path / "c.parquet")
    found = ingest_corpus(tmp_path / "c.parquet", tmp_path / "corpus", format="parquet")
    assert pq.read_table(tmp_path / "corpus")["text"].to_pylist() == ["0.1", "3", "2.5e-07"] and found.quarantined == 1

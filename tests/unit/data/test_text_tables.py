"""CSV and TSV as people export them, and as collections for retrieval are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from wbrag.core.errors import UsageError, WbragError
from wbrag.data import ingest_corpus

TABLE = 'id\ttext\n1\t"Hello," he said.\n2\tHe said "no".\n3\t"Quoted ""whole"" one."\n'


def read(path: Path, format: str, **how: Any) -> list[dict[str, Any]]:
    result = ingest_corpus(path, path.parent / "out", format=format, **how)
    rows: list[dict[str, Any]] = pq.read_table(result.path).to_pylist()
    return rows


def ids(path: Path, format: str = "jsonl", **how: Any) -> list[str]:
    return [row["id"] for row in read(path, format, **how)]


def test_tsv_of_the_retrieval_kind(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text(TABLE + '4\t"An odd one.\n5\tplain\n')
    rows = read(tmp_path / "c.tsv", "tsv")
    texts = ['"Hello," he said.', 'He said "no".', 'Quoted "whole" one.', '"An odd one.', "plain"]
    assert [row["text"] for row in rows] == texts


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_cell_of_several_lines(tmp_path: Path, end: str) -> None:
    (tmp_path / "c.tsv").write_text(
        'id\ttext\ttitle\n1\t"One.\nTwo ""2""."\tT\n2\tx\tU\n'.replace("\n", end), newline=""
    )
    rows = read(tmp_path / "c.tsv", "tsv")
    assert [(row["id"], row["text"].replace("\r", ""), row["title"]) for row in rows] == [
        ("1", 'One.\nTwo "2".', "T"),
        ("2", "x", "U"),
    ]


def test_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_text("0\tThe first passage.\n1\tThe second.\n")
    with pytest.raises(
        WbragError, match=r"expected a column 'text'.*is no header, name all columns with --header id,text"
    ):
        ids(tmp_path / "collection.tsv", "tsv")
    assert ids(tmp_path / "collection.tsv", "tsv", header=["id", "text"]) == ["0", "1"]
    assert ids(tmp_path / "collection.tsv", "csv", header=["id", "text"]) == ["0", "1"]
    with pytest.raises(WbragError, match=r"line 1: expected 3 cells, as the header, found fewer: 2; check --header"):
        ids(tmp_path / "collection.tsv", "tsv", header=["id", "text", "title"])
    (tmp_path / "twice.csv").write_text("Yes,Yes\n")
    with pytest.raises(WbragError, match="a header of different names, found Yes twice"):
        ids(tmp_path / "twice.csv", "csv")


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolon"), ("|", "pipe"), ("\t", "tab")])
def test_delimiters(tmp_path: Path, sign: str, name: str) -> None:
    (tmp_path / "c.csv").write_text(f'id{sign}text\n1{sign}"a{sign}b, c"\n')
    with pytest.raises(WbragError, match=f"expected a header of several columns.*try --delimiter {name}"):
        ids(tmp_path / "c.csv", "csv")
    for given in (sign, name):
        assert read(tmp_path / "c.csv", "csv", delimiter=given)[0]["text"] == f"a{sign}b, c"


def test_tables_as_people_export_them(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('sep=;\nID ; Text ;;\n1;"a;b";;\n2;\\N;;\n')
    assert [(row["id"], row["text"]) for row in read(tmp_path / "c.csv", "csv")] == [("1", "a;b")]
    (tmp_path / "c.tsv").write_bytes(b"id\ttext\r1\tone\r \r2\ttwo")
    assert ids(tmp_path / "c.tsv", "tsv") == ["1", "2"]
    (tmp_path / "c.tsv").write_text('id\ttext\ttitle\n1\t"a\tb"\tT\n')
    assert read(tmp_path / "c.tsv", "tsv")[0]["text"] == "a\tb"
    (tmp_path / "c.csv").write_bytes("Größe,id\n".encode("latin-1"))
    with pytest.raises(WbragError, match="line 1: expected UTF-8 text"):
        ids(tmp_path / "c.csv", "csv", on_bad="skip")
    (tmp_path / "c.csv").write_text("id,text\n")
    with pytest.raises(WbragError, match="try --format csv"):
        ids(tmp_path / "c.csv", "tsv")


def test_an_open_quote_takes_its_own_line_alone(tmp_path: Path) -> None:
    rows = [f"{i},text {i}" for i in range(200)]
    rows[7] = '7,"open'
    (tmp_path / "c.csv").write_text("id,text\n" + "\n".join(rows))
    with pytest.raises(WbragError, match="line 9: expected CSV, found it malformed"):
        ids(tmp_path / "c.csv", "csv")
    result = ingest_corpus(
        tmp_path / "c.csv", tmp_path / "out", format="csv", on_bad="skip", kept_in=tmp_path / "left.jsonl"
    )
    assert (result.rows, result.quarantined) == (199, 1)
    assert json.loads((tmp_path / "left.jsonl").read_text())["record"] == '7,"open\n'


def test_a_quotation_over_two_rows_is_two_rows(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text('id\ttext\n1\t"We shall fight,\n2\tand never surrender."\n3\tx\n')
    texts = [row["text"] for row in read(tmp_path / "c.tsv", "tsv")]
    assert texts == ['"We shall fight,', 'and never surrender."', "x"]


def test_a_header_that_cannot_be_read_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('"id"x,text\n1,2\n3,4\n')
    with pytest.raises(WbragError, match="line 1: expected CSV, found it malformed"):
        ids(tmp_path / "c.csv", "csv", on_bad="skip")


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "0", "text": "x"}')
    for how in ({"header": ["id"]}, {"delimiter": ";"}):
        with pytest.raises(
            UsageError, match="format 'jsonl' has no header and delimiter: use them with one of csv, tsv"
        ):
            ids(tmp_path / "c.jsonl", **how)
    with pytest.raises(UsageError, match="expected on_bad stop or skip, found 'drop'"):
        ids(tmp_path / "c.jsonl", on_bad="drop")
    with pytest.raises(UsageError, match="expected a delimiter of one character or comma, tab"):
        ids(tmp_path / "c.jsonl", "csv", delimiter="ab")

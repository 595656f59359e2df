"""Ingest writes whole Parquet files or nothing, and says in one sentence what is wrong with its input."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from wbrag.core.errors import UsageError, WbragError
from wbrag.data import CORPUS_SCHEMA, EXAMPLES_SCHEMA, IngestResult, ingest, ingest_corpus, ingest_examples

GOOD = {"id": "p1", "contents": "T\nA text."}
QUESTION = {"id": "q1", "question": "Who?", "golden_answers": ["A"], "metadata": {"gold": ["p1"]}}


def lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return result


def test_corpus(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl", GOOD, {"id": "p2", "contents": "U\nOther.", "source": "own"}, GOOD)
    done: list[tuple[int, int, int]] = []
    result = ingest_corpus(
        path, tmp_path / "corpus", format="flashrag", source="wiki", progress=lambda *at: done.append(at)
    )
    assert result == IngestResult(2, 2, 1, tmp_path / "corpus")
    assert [file.name for file in (tmp_path / "corpus").iterdir()] == ["part-00000.parquet"]
    assert pq.read_schema(tmp_path / "corpus" / "part-00000.parquet") == CORPUS_SCHEMA
    first = {"id": "p1", "title": "T", "text": "A text.", "source": "wiki", "updated_at": ""}
    second = {"id": "p2", "title": "U", "text": "Other.", "source": "own", "updated_at": ""}
    numbers = {"trust": 1.0, "start": 0}
    assert rows(tmp_path / "corpus") == [first | numbers | {"end": 7}, second | numbers | {"end": 6}]
    size = path.stat().st_size
    assert done == [(2, size, size)]


def test_long_documents_are_chunked(tmp_path: Path) -> None:
    text = "One two three four. Five six seven eight. Nine ten."
    path = lines(tmp_path / "c.jsonl", {"id": "long", "text": text}, {"id": "short", "text": "One two three."})
    result = ingest_corpus(path, tmp_path / "corpus", format="jsonl", chunk_words=4)
    assert result[:3] == (4, 2, 0)
    written = rows(tmp_path / "corpus")
    assert [row["id"] for row in written] == ["long#0", "long#1", "long#2", "short"]
    assert [text[row["start"] : row["end"]] for row in written[:3]] == [row["text"] for row in written[:3]]


def test_parts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "PART_ROWS", 2)
    monkeypatch.setattr(ingest, "BATCH", 3)
    path = lines(tmp_path / "c.jsonl", *({"id": str(i), "text": "x"} for i in range(5)))
    assert ingest_corpus(path, tmp_path / "corpus", format="jsonl").rows == 5
    parts = sorted((tmp_path / "corpus").iterdir())
    assert [part.name for part in parts] == [f"part-0000{i}.parquet" for i in range(3)]
    assert [row["id"] for part in parts for row in rows(part)] == list("01234")


def test_examples(tmp_path: Path) -> None:
    path = lines(tmp_path / "e.jsonl", QUESTION, QUESTION, {"question": "How?", "golden_answers": "B"})
    out = tmp_path / "examples" / "nq.parquet"
    result = ingest_examples(path, out, format="flashrag", task="nq")
    assert result == IngestResult(2, 2, 1, out)
    assert pq.read_schema(out) == EXAMPLES_SCHEMA
    first, second = rows(out)
    assert first == QUESTION | {"task": "nq", "metadata": '{"gold": ["p1"]}'}
    assert (second["question"], second["golden_answers"], second["metadata"]) == ("How?", ["B"], "{}")
    assert [file.name for file in out.parent.iterdir()] == ["nq.parquet"]


def test_blank_answers_are_quarantined(tmp_path: Path) -> None:
    path = lines(tmp_path / "e.jsonl", QUESTION, QUESTION | {"id": "q2", "golden_answers": [""]})
    result = ingest_examples(path, tmp_path / "e.parquet", format="flashrag", task="nq")
    assert (result.rows, result.documents, result.quarantined) == (1, 2, 1)
    assert [row["id"] for row in rows(tmp_path / "e.parquet")] == ["q1"]


def test_limit_reads_no_further(tmp_path: Path) -> None:
    path = lines(tmp_path / "e.jsonl", QUESTION, QUESTION, QUESTION | {"id": "q2"}, "not JSON")
    assert ingest_examples(path, tmp_path / "e.parquet", format="jsonl", task="qa", limit=2).rows == 2
    with pytest.raises(UsageError, match="limit of at least 1"):
        ingest_examples(path, tmp_path / "e.parquet", format="jsonl", task="qa", limit=0)


BAD_CORPORA = {
    "empty": ([], "expected a corpus, found no records"),
    "malformed": ([GOOD, "{"], "c.jsonl, line 2: expected JSON, found a malformed line"),
    "not an object": ([GOOD, "[1]"], "line 2: expected a JSON object, found a list"),
    "missing column": ([{"id": "p1", "body": "x"}], "expected a column 'text'.*found id, body; .*--columns"),
    "no id": ([{"text": "x"}], "expected a column 'id', found text"),
    "empty id": ([{"id": "", "text": "x"}], "expected an id, found an empty one"),
    "same id, other text": ([GOOD, {"id": "p1", "contents": "T\nB."}], "id 'p1': expected once, found twice"),
    "bad trust": ([GOOD | {"trust": "high"}], "expected a number as trust, found 'high'"),
    "chunk id taken": ([{"id": "a#0", "text": "x"}, {"id": "a", "text": "One. Two. Three."}], "id 'a#0'"),
}


@pytest.mark.parametrize(("records", "message"), BAD_CORPORA.values(), ids=BAD_CORPORA)
def test_bad_corpus_leaves_the_old_one(tmp_path: Path, records: list[Any], message: str) -> None:
    path = lines(tmp_path / "in" / "c.jsonl", *records)
    new = tmp_path / "out" / "new"
    with pytest.raises(WbragError, match=message):
        ingest_corpus(path, new, format="flashrag", chunk_words=1)
    assert not list(new.parent.iterdir())
    old = ingest_corpus(lines(tmp_path / "in" / "good.jsonl", GOOD), tmp_path / "out" / "old", format="flashrag").path
    before = rows(old)
    with pytest.raises(WbragError, match=message):
        ingest_corpus(path, old, format="flashrag", chunk_words=1)
    assert list(old.parent.iterdir()) == [old]
    assert rows(old) == before


BAD_EXAMPLES = {
    "empty": ([], "expected examples, found no records"),
    "malformed": ([QUESTION, "", "{'id'}"], "e.jsonl, line 3: expected JSON"),
    "no answers": ([QUESTION | {"id": "q2", "golden_answers": []}], r"line 1 \(id q2\): .*golden answer"),
    "no question": ([QUESTION | {"question": " "}], "expected a question, found an empty one"),
    "missing column": ([{"id": "q1", "question": "?"}], "expected a column 'golden_answers', found id, question"),
    "same id, other question": ([QUESTION, QUESTION | {"question": "How?"}], "id 'q1': expected once"),
}


@pytest.mark.parametrize(("records", "message"), BAD_EXAMPLES.values(), ids=BAD_EXAMPLES)
def test_bad_examples_leave_nothing(tmp_path: Path, records: list[Any], message: str) -> None:
    path = lines(tmp_path / "in" / "e.jsonl", *records)
    with pytest.raises(WbragError, match=message):
        ingest_examples(path, tmp_path / "out" / "e.parquet", format="flashrag", task="qa")
    assert not list((tmp_path / "out").iterdir())


def test_interrupt_leaves_the_old_corpus(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl", GOOD)
    out = ingest_corpus(path, tmp_path / "out" / "corpus", format="flashrag").path

    def interrupt(*at: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_corpus(path, out, format="flashrag", progress=interrupt)
    assert list(out.parent.iterdir()) == [out]
    lines(path, GOOD | {"id": "p9"})
    ingest_corpus(path, out, format="flashrag")
    assert [row["id"] for row in rows(out)] == ["p9"]
    assert list(out.parent.iterdir()) == [out]


def test_a_failed_last_rename_puts_the_old_corpus_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = ingest_corpus(lines(tmp_path / "c.jsonl", GOOD), tmp_path / "out" / "corpus", format="flashrag").path
    rename = os.rename

    def refuse(old: Path, new: Path) -> None:
        if old.name == "parts":
            raise PermissionError(13, "Permission denied")
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(WbragError, match="cannot write .*: Permission denied"):
        ingest_corpus(tmp_path / "c.jsonl", out, format="flashrag")
    assert list(out.parent.iterdir()) == [out]
    assert len(rows(out)) == 1


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    path, out = lines(tmp_path / "c.jsonl", GOOD), tmp_path / "corpus"
    with pytest.raises(UsageError, match="unknown format 'flashrags': did you mean 'flashrag'"):
        ingest_corpus(path, out, format="flashrags")
    with pytest.raises(UsageError, match="format 'fever' has no corpus: expected one of flashrag"):
        ingest_corpus(path, out, format="fever")
    with pytest.raises(UsageError, match="unknown corpus column 'txt': did you mean 'text'"):
        ingest_corpus(path, out, format="jsonl", columns={"txt": "body"})
    with pytest.raises(UsageError, match="format 'squad' has fixed field names"):
        ingest_corpus(path, out, format="squad", columns={"text": "body"})
    with pytest.raises(UsageError, match="chunk_words"):
        ingest_corpus(path, out, format="jsonl", chunk_words=-1)
    with pytest.raises(WbragError, match="expected a flashrag file at .*none.jsonl, found nothing"):
        ingest_corpus(tmp_path / "none.jsonl", out, format="flashrag")
    assert not out.exists()


def test_only_a_corpus_is_replaced(tmp_path: Path) -> None:
    path = lines(tmp_path / "in" / "c.jsonl", GOOD)
    with pytest.raises(WbragError, match=r"an earlier corpus, found c.jsonl; choose another folder"):
        ingest_corpus(path, tmp_path / "in", format="flashrag")
    with pytest.raises(WbragError, match="expected a folder to write the corpus to, found a file"):
        ingest_corpus(path, path, format="flashrag")
    with pytest.raises(WbragError, match="found a folder; add a file name"):
        ingest_examples(path, tmp_path, format="flashrag", task="qa")


BROKEN_FILES = {
    "c.jsonl.gz": (gzip.compress(b"x" * 100_000)[:-9], "expected a whole gzip file"),
    "c.jsonl": (b'{"id": "\xff"}', "expected UTF-8 text"),
    "folder.jsonl": (None, "expected files that end in .jsonl, .* below the folder, found no files"),
}


@pytest.mark.parametrize(("name", "case"), BROKEN_FILES.items(), ids=BROKEN_FILES)
def test_unreadable_files(tmp_path: Path, name: str, case: tuple[bytes | None, str]) -> None:
    path, (content, message) = tmp_path / name, case
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(WbragError, match=message):
        ingest_corpus(path, tmp_path / "out", format="flashrag")
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_of_another_shape(tmp_path: Path) -> None:
    path = lines(tmp_path / "kilt.jsonl", {"wikipedia_id": "1", "wikipedia_title": "T", "text": [1]})
    with pytest.raises(WbragError, match="line 1: expected kilt records, found another shape .AttributeError"):
        ingest_corpus(path, tmp_path / "out", format="kilt")


def test_a_big_json_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text('{"data": [{"title": "T", "paragraphs": [{"con')
    with pytest.raises(WbragError, match=r"squad.json, item 1, before byte 45: expected JSON, found it malformed"):
        ingest_corpus(path, tmp_path / "out", format="squad")
    assert list(tmp_path.iterdir()) == [path]

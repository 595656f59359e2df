"""An updated corpus is the one that all documents together would make, and its other files stay as they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbrag.core.errors import UsageError, WbragError
from wbrag.data import ingest, ingest_corpus
from wbrag.data.update import update_corpus

LONG = "One two three four. Five six seven eight. Nine ten eleven twelve."


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def texts(folder: Path) -> dict[str, str]:
    return {row["id"]: row["text"] for row in rows(folder)}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten documents in parts of three, the sixth of them in three chunks."""
    monkeypatch.setattr(ingest, "PART_ROWS", 3)
    monkeypatch.setattr(ingest, "BATCH", 1)
    monkeypatch.setattr("wbrag.data.update.ROW_GROUP", 2)
    records = [{"id": f"d{i}", "text": f"Text {i}.", "updated_at": "2026-01-05"} for i in range(10)]
    records[5]["text"] = LONG
    return ingest_corpus(  # type: ignore[return-value]
        write(tmp_path / "c.jsonl", *records), tmp_path / "corpus", format="jsonl", chunk_words=4
    ).path


def update(corpus: Path, *records: dict[str, Any], **how: Any) -> Any:
    path = write(corpus.parent / "new.jsonl", *records) if records else None
    return update_corpus(path, corpus, format="jsonl", chunk_words=4, **how)


def test_add_change_delete(corpus: Path) -> None:
    before = {file.name: file.stat().st_ino for file in corpus.iterdir()}
    assert [row["id"] for row in rows(corpus)][5:8] == ["d5#0", "d5#1", "d5#2"]
    result = update(
        corpus,
        {"id": "d4", "text": "Another.", "updated_at": "2026-01-06"},
        {"id": "d0", "text": "Text 0.", "updated_at": "2026-01-05"},
        {"id": "d1", "text": "An older one.", "updated_at": "2026-01-04"},
        {"id": "n1", "text": "New."},
        delete=["d7", "nobody"],
    )
    counts = result.added, result.changed, result.deleted, result.unchanged, result.older, result.not_found
    assert counts == (1, 1, 1, 1, 1, 1)
    found = texts(corpus)
    assert (found["d4"], found["d1"], found["n1"]) == ("Another.", "Text 1.", "New.")
    assert "d7" not in found and result.rows == len(found) == 12
    after = {file.name: file.stat().st_ino for file in corpus.iterdir()}
    same = {name for name in after if before.get(name) == after[name]}
    assert (len(same), result.files_kept, result.files_written) == (2, 2, 3)
    assert [file.name for file in corpus.parent.iterdir() if file.name.startswith(".")] == []


def test_documents_that_are_cut_otherwise(corpus: Path) -> None:
    update(corpus, {"id": "d5", "text": "Short now."}, {"id": "d2", "text": LONG})
    assert [id for id in texts(corpus) if id[:2] in ("d2", "d5")] == ["d2#0", "d2#1", "d2#2", "d5"]
    assert [row["id"] for row in rows(corpus)][2:5] == ["d2#0", "d2#1", "d2#2"], "in its place"
    result = update(corpus, delete=["d2", "d5"])
    assert (result.deleted, result.rows) == (2, 8)
    assert not [id for id in texts(corpus) if id[:2] in ("d2", "d5")]


def test_a_number_in_a_name_is_no_chunk_of_a_whole_one(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"id": "a", "text": "A."}, {"id": "a#1", "text": "Its own."})
    ingest_corpus(path, tmp_path / "corpus", format="jsonl", chunk_words=4)
    assert update(tmp_path / "corpus", {"id": "a", "text": "B."}).changed == 1
    assert texts(tmp_path / "corpus") == {"a": "B.", "a#1": "Its own."}
    with pytest.raises(WbragError, match="the chunk id 'a#1' of document 'a' to be free, found another document"):
        update(tmp_path / "corpus", {"id": "a", "text": LONG})
    assert texts(tmp_path / "corpus") == {"a": "B.", "a#1": "Its own."}


def test_ids_with_numbers_that_are_no_chunks_stay(tmp_path: Path) -> None:
    """Pages of an address: they begin at 0 each, so none was cut from the other."""
    pages = [{"id": f"http://x/p#{i}", "text": f"Page {i}."} for i in range(3)]
    ingest_corpus(write(tmp_path / "c.jsonl", *pages), tmp_path / "corpus", format="jsonl", chunk_words=4)
    result = update(tmp_path / "corpus", {"id": "http://x/p", "text": "The book."})
    assert (result.added, result.changed, result.rows) == (1, 0, 4)
    assert update(tmp_path / "corpus", delete=["http://x/p"]).rows == 3
    assert update(tmp_path / "corpus", {"id": "http://x/p#1", "text": "Page one."}).changed == 1
    assert sorted(texts(tmp_path / "corpus").values()) == ["Page 0.", "Page 2.", "Page one."]


def test_a_chunk_is_no_place_for_a_document(corpus: Path) -> None:
    before = rows(corpus)
    with pytest.raises(WbragError, match="the id 'd5#1' of a document to be free, found a chunk of document 'd5'"):
        update(corpus, {"id": "d5#1", "text": "Mine."})
    assert rows(corpus) == before


def test_times_are_compared_as_times(tmp_path: Path) -> None:
    first = {"id": "a", "text": "A.", "updated_at": "2024-05-01T10:00:00+02:00"}
    ingest_corpus(write(tmp_path / "c.jsonl", first), tmp_path / "corpus", format="jsonl", chunk_words=4)
    assert update(tmp_path / "corpus", first | {"text": "B.", "updated_at": "2024-05-01T09:00:00+00:00"}).changed == 1
    assert update(tmp_path / "corpus", first | {"text": "C.", "updated_at": "2024-05-01T08:59:59Z"}).older == 1


def test_a_corpus_that_is_only_half_wbrags(corpus: Path) -> None:
    for name in ("part-00000-ab.c000.parquet", "part-00009.parquet"):
        table = pq.read_table(next(corpus.glob("part-00001.parquet"))).drop_columns(["trust", "source"]).slice(0, 1)
        ids = pq.read_table(next(corpus.glob("part-00001.parquet")))["id"].to_pylist()
        pq.write_table(table.set_column(0, "id", [[f"{name} {ids[0]}"]]), corpus / name)
    assert update(corpus, {"id": "part-00009.parquet d3", "text": "x"}, {"id": "n", "text": "y"}).changed == 1
    with pytest.raises(UsageError, match="expected chunk_words of 0"):
        update_corpus(None, corpus, format="jsonl", chunk_words=-1, delete=["d1"])
    (corpus / "NOTES.md").write_text("mine")
    with pytest.raises(WbragError, match="or an earlier corpus, found NOTES.md"):
        update(corpus, delete=["d1"])


def test_an_update_that_was_killed_between_its_renames(corpus: Path) -> None:
    scratch = corpus.parent / ".corpus.dead.tmp"
    scratch.mkdir()
    (scratch / "lock").touch()
    corpus.rename(scratch / "old")
    assert update(corpus, {"id": "n", "text": "New."}).rows == 13


def test_nothing_changes_where_nothing_does(corpus: Path) -> None:
    before = {file.name: file.stat().st_ino for file in corpus.iterdir()}
    record = {"id": "d5", "text": LONG, "updated_at": "2026-01-05", "trust": 1.0}
    result = update(corpus, record, {"id": "d9", "text": "Text 9.", "updated_at": "2026-01-05"})
    assert (result.unchanged, result.changed, result.files_written) == (2, 0, 0)
    assert {file.name: file.stat().st_ino for file in corpus.iterdir()} == before


def test_what_makes_no_sense_leaves_the_corpus(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(corpus)
    with pytest.raises(UsageError, match="found neither: give a file"):
        update(corpus)
    with pytest.raises(WbragError, match="'d1' to be written or deleted, found both"):
        update(corpus, {"id": "d1", "text": "x"}, delete=["d1"])
    with pytest.raises(WbragError, match="to keep some passages, found all of them deleted"):
        update(corpus, delete=[f"d{i}" for i in range(10)])
    with pytest.raises(WbragError, match="expected a corpus to update in .*: ingest one without --update"):
        update(corpus.parent / "none", {"id": "d1", "text": "x"})
    (corpus.parent / "bad.jsonl").write_text("{")
    with pytest.raises(WbragError, match="line 1: expected JSON"):
        update_corpus(corpus.parent / "bad.jsonl", corpus, format="jsonl")
    file = sorted(corpus.iterdir())[0]

    def meanwhile(done: int, *at: int) -> None:
        os.utime(file, (1, done))

    with pytest.raises(WbragError, match="to stay as it is meanwhile, found it changed: run the command again"):
        update(corpus, {"id": "n", "text": "x"}, progress=meanwhile)
    assert rows(corpus) == before


DOCUMENTS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.sampled_from(["A.", "B.", LONG, LONG + " More words here."])
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40, deadline=None
)
@given(DOCUMENTS.filter(bool), st.lists(st.tuples(DOCUMENTS, st.sets(st.sampled_from("abcdefgh"))), max_size=4))
def test_it_is_what_all_together_would_make(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, str], steps: list[tuple[dict[str, str], set[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("c")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "PART_ROWS", 2)
        patch.setattr(ingest, "BATCH", 1)
        ingest_corpus(
            write(folder / "c.jsonl", *({"id": id, "text": text} for id, text in first.items())),
            folder / "corpus",
            format="jsonl",
            chunk_words=4,
        )
        now = dict(first)
        for documents, gone in steps:
            gone = gone - documents.keys()
            after = {id: text for id, text in (now | documents).items() if id not in gone}
            if not after or not (documents or gone):
                continue
            update(folder / "corpus", *({"id": id, "text": t} for id, t in documents.items()), delete=gone)
            now = after
        ingest_corpus(
            write(folder / "all.jsonl", *({"id": id, "text": text} for id, text in now.items())),
            folder / "whole",
            format="jsonl",
            chunk_words=4,
        )
    key = lambda row: row["id"]  # noqa: E731
    assert sorted(rows(folder / "corpus"), key=key) == sorted(rows(folder / "whole"), key=key)

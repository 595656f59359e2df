"""Access lists and metadata of a corpus: read, kept, updated, or refused; never taken for what they are not."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.io.parquet import rows_with_ids
from wbrag.core.io.schemas import from_row
from wbrag.core.types import Passage
from wbrag.data import CORPUS_SCHEMA, ingest_corpus
from wbrag.data.update import update_corpus


def write(folder: Path, rows: list[dict[str, Any]], name: str = "corpus.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def read(folder: Path) -> dict[str, Passage]:
    files = sorted(folder.glob("*.parquet"))
    ids = {id for file in files for id in pq.read_table(file)["id"].to_pylist()}
    return {row["id"]: from_row(Passage, row) for row in rows_with_ids(files, ids).to_pylist()}


def ingested(folder: Path, rows: list[dict[str, Any]], **how: Any) -> dict[str, Passage]:
    ingest_corpus(write(folder, rows), folder / "corpus", format="jsonl", **how)
    return read(folder / "corpus")


@pytest.mark.parametrize(
    "given, kept",
    [
        (["legal", "hr", "hr"], ("hr", "legal")),
        ("legal, hr", ("hr", "legal")),
        ('["a b", "c@d.org"]', ("a b", "c@d.org")),
        ("Vertrieb Süd", ("Vertrieb Süd",)),
        ([7], ("7",)),
        (None, ()),
        ("", ()),
    ],
)
def test_groups_are_names(tmp_path: Path, given: Any, kept: tuple[str, ...]) -> None:
    assert ingested(tmp_path, [{"id": "a", "text": "x", "groups": given}])["a"].groups == kept


@pytest.mark.parametrize("given", [[], "[]", ["hr|legal"], ["*"], ["!"], [""], {"hr": True}, 5, ["x" * 65], [["hr"]]])
def test_a_list_that_is_none_is_refused(tmp_path: Path, given: Any) -> None:
    """What is wrong must never end as a passage for everybody."""
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y", "groups": given}]
    with pytest.raises(WbragError, match=r"line 2: expected .*group"):
        ingested(tmp_path, rows)
    kept_in = tmp_path / "left-out.jsonl"
    assert (
        set(ingested(tmp_path, rows, on_bad="skip", kept_in=kept_in)) == {"a"} and kept_in.read_text().count("\n") == 1
    )


def test_a_column_that_is_to_hold_groups_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(WbragError, match="expected a column 'acl'"):
        ingested(tmp_path, [{"id": "a", "text": "x"}], columns={"groups": "acl"})


def test_those_without_get_the_groups_that_are_named(tmp_path: Path) -> None:
    found = ingested(tmp_path, [{"id": "a", "text": "x"}, {"id": "b", "text": "y", "groups": ["hr"]}], groups=["staff"])
    assert (found["a"].groups, found["b"].groups) == (("staff",), ("hr",))
    with pytest.raises(UsageError, match="expected names of groups"):
        ingested(tmp_path, [{"id": "a", "text": "x"}], groups=["a|b"])


def test_every_chunk_is_for_whom_the_document_is(tmp_path: Path) -> None:
    row = {"id": "a", "text": "One word after another. " * 100, "groups": ["hr"], "lang": "en"}
    found = ingested(tmp_path, [row], chunk_words=50, metadata=["lang"])
    assert len(found) > 3 and all(p.groups == ("hr",) and p.metadata == {"lang": "en"} for p in found.values())


def test_a_repeated_text_for_others_is_no_repetition(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "x", "groups": ["hr"]}, {"id": "a", "text": "x", "groups": ["legal"]}]
    with pytest.raises(WbragError, match="id 'a': expected once, found twice with different text or groups"):
        ingested(tmp_path, rows)
    assert len(ingested(tmp_path, [rows[0], rows[0]])) == 1


def test_metadata_is_what_is_named(tmp_path: Path) -> None:
    rows = [
        {
            "id": "a",
            "text": "x",
            "lang": "de",
            "year": 2019,
            "tags": ["x", None, 2],
            "author": {"name": "Ada"},
            "no": 1,
        },
        {"id": "b", "text": "y", "year": 20.5, "ok": False, "lang": None, "author": {}},
    ]
    found = ingested(tmp_path, rows, metadata=["lang", "year", "tags", "author.name", "ok"])
    assert found["a"].metadata == {"lang": "de", "year": 2019, "tags": ["x", 2], "author.name": "Ada"}
    assert found["b"].metadata == {"year": 20.5, "ok": False}
    with pytest.raises(WbragError, match=r"expected a text, a number or a list of them as author, .*author\.name"):
        ingested(tmp_path, rows, metadata=["author"])
    with pytest.raises(WbragError, match="expected records with the metadata language, found none"):
        ingested(tmp_path, rows, metadata=["language", "year"])
    with pytest.raises(UsageError, match="format 'squad' has no metadata"):
        ingest_corpus(write(tmp_path, rows), tmp_path / "corpus", format="squad", metadata=["year"])
    assert read(tmp_path / "corpus") == found, "what was refused left what was there"


def test_a_corpus_without_labels_is_as_it_was(tmp_path: Path) -> None:
    ingested(tmp_path, [{"id": "a", "text": "x", "lang": "de"}])
    assert pq.read_schema(tmp_path / "corpus" / "part-00000.parquet") == CORPUS_SCHEMA


def test_an_update_changes_who_may_see(tmp_path: Path) -> None:
    before = [{"id": id, "text": id, "lang": "de"} for id in "abc"]
    ingested(tmp_path, before, metadata=["lang"])

    def update(rows: list[dict[str, Any]], **how: Any) -> tuple[int, int, int]:
        file = write(tmp_path, rows, "new.jsonl")
        found = update_corpus(file, tmp_path / "corpus", format="jsonl", metadata=["lang"], **how)
        return found.added, found.changed, found.unchanged

    assert update(before) == (0, 0, 3), "what is the same is not written"
    assert update([{**before[0], "groups": ["hr"]}, before[1]]) == (0, 1, 1)
    assert update([{**before[0], "groups": ["hr"]}]) == (0, 0, 1)
    assert update([{**before[0], "groups": ["hr"], "lang": "en"}, {"id": "d", "text": "d", "lang": "de"}]) == (1, 1, 0)
    found = read(tmp_path / "corpus")
    assert found["a"].groups == ("hr",) and found["a"].metadata == {"lang": "en"} and found["b"].groups == ()
    assert update([before[1]], groups=["staff"]) == (0, 1, 0)
    assert read(tmp_path / "corpus")["b"].groups == ("staff",)


def test_records_that_are_not_asked_for_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "A.", "lang": "de", "meta": {"year": 2019}},
        {"id": "b", "text": "B.", "lang": ["de", "en"], "meta": {"year": "2021"}},
        {"id": "c", "text": "C.", "lang": "en", "meta": {"year": 2021}},
        {"id": "d", "text": "D."},
        {"id": "e", "text": "E.", "lang": {"x": 1}, "meta": None},
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = partial(ingest_corpus, tmp_path / "c.jsonl", tmp_path / "corpus", format="jsonl")
    for wanted, ids in (
        ({"lang": "de"}, {"a", "b"}),
        ({"lang": "de", "meta.year": {"gte": 2020}}, {"b"}),
        ({"meta.year": 2021}, {"b", "c"}),
    ):
        found = read(filter=wanted)
        assert (found.rows, found.filtered, found.quarantined) == (len(ids), 5 - len(ids), 0)
        assert set(pq.read_table(tmp_path / "corpus")["id"].to_pylist()) == ids
    with pytest.raises(WbragError, match="found 5 records that the filter does not let pass: check --filter"):
        read(filter={"lang": "fr"})
    with pytest.raises(UsageError, match="has no filter"):
        ingest_corpus(tmp_path / "c.jsonl", tmp_path / "corpus", format="squad", filter={"lang": "de"})
    with pytest.raises(UsageError, match="expected --revision with the format hf"):
        read(revision="main")

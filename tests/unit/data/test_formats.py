"""Each format's records, made here in the publisher's shape."""

import gzip
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.types import Example, Passage
from wbrag.data.beir import beir_qrels, beir_queries
from wbrag.data.formats import FORMATS
from wbrag.data.ingest import ingest_examples
from wbrag.data.source import Input


def lines(path: Path, *records: Any) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def corpus(format: str, path: Path | str, **columns: str) -> list[Passage]:
    reader = FORMATS[format].corpus
    assert reader
    return [item for _, item in reader(Input(str(path), columns=columns))]


def examples(format: str, path: Path | str, **columns: str) -> list[Example]:
    reader = FORMATS[format].examples
    assert reader
    return [item for _, item in reader(Input(str(path), columns=columns))]


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
def test_flashrag_corpus(tmp_path: Path, name: str) -> None:
    path = lines(
        tmp_path / name,
        {"id": "p1", "contents": "Title\nFirst line\nsecond line"},
        {"id": 2, "contents": "no title"},
        {"id": "p3", "title": "T", "text": "x", "contents": "T\nx", "updated_at": "2024-01-02", "trust": 0.5},
    )
    assert corpus("flashrag", path) == [
        Passage("p1", "Title", "First line\nsecond line", end=22),
        Passage("2", "", "no title", end=8),
        Passage("p3", "T", "x", updated_at="2024-01-02", trust=0.5, end=1),
    ]


def test_flashrag_examples(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "e.jsonl",
        {"id": "q1", "question": "Who?", "golden_answers": ["A", "B", "A", " "], "metadata": {"gold": ["p1"]}},
        {"id": "q2", "question": "How many?", "golden_answers": 5},
    )
    first, second = examples("flashrag", path)
    assert first == Example("q1", "Who?", ("A", "B"), metadata={"gold": ["p1"]})
    assert second == Example("q2", "How many?", ("5",))


def test_progress_counts_stored_bytes(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl.gz", {"id": "p1", "contents": "T\nx"})
    source = Input(str(path))
    list(FORMATS["flashrag"].corpus(source))
    assert source.bytes_done == source.bytes_total == path.stat().st_size


def test_beir_folder(tmp_path: Path) -> None:
    lines(tmp_path / "corpus.jsonl", {"_id": "d1", "title": "T", "text": "x", "metadata": {}})
    lines(tmp_path / "queries.jsonl", {"_id": "q1", "text": "Who?", "metadata": {"answer": "A"}})
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n")
    assert corpus("beir", tmp_path) == [Passage("d1", "T", "x", end=1)]
    assert examples("beir", tmp_path) == [Example("q1", "Who?", ("A",), metadata={"gold": ["d1"]})]


def test_beir_queries_have_no_answers(tmp_path: Path) -> None:
    topics = tmp_path / "topics.tsv"
    topics.write_text("PLAIN-2\tDo drugs cure?\n")
    assert [row[:2] for row in beir_queries(Input(str(topics)))] == [("PLAIN-2", "Do drugs cure?")]
    with pytest.raises(WbragError, match=r"topics.tsv, line 1 \(id PLAIN-2\).*BEIR queries have no answers"):
        ingest_examples(topics, tmp_path / "out.parquet", format="beir", task="qa")
    topics.write_text("no tab\n")
    with pytest.raises(WbragError, match="found no tab"):
        examples("beir", topics)


def test_beir_qrels_of_trec(tmp_path: Path) -> None:
    path = tmp_path / "qrels.txt"
    path.write_text("q1 0 d1 2\nq1 0 d2 -1\n")
    assert beir_qrels(path) == {"q1": {"d1": 2, "d2": -1}}
    path.write_text("q1 d1\n")
    with pytest.raises(WbragError, match="line 1: expected query id"):
        beir_qrels(path)


def squad_file(path: Path, answers: list[str]) -> Path:
    qa = {"id": "q1", "question": "Who?", "answers": [{"text": answer, "answer_start": 0} for answer in answers]}
    paragraphs = [{"context": "A did.", "qas": [qa]}, {"context": "B.", "qas": []}]
    path.write_text(json.dumps({"version": "1.1", "data": [{"paragraphs": paragraphs, "title": "T"}]}))
    return path


def test_squad(tmp_path: Path) -> None:
    path = squad_file(tmp_path / "squad.json", ["A", "A"])
    passages = corpus("squad", path)
    assert [(p.title, p.text) for p in passages] == [("T", "A did."), ("T", "B.")]
    assert examples("squad", path) == [Example("q1", "Who?", ("A",), metadata={"gold": [passages[0].id]})]


def test_squad_unanswerable(tmp_path: Path) -> None:
    with pytest.raises(WbragError, match=r"item 1 \(id q1\).*is_impossible"):
        path = squad_file(tmp_path / "squad.json", [])
        ingest_examples(path, tmp_path / "out.parquet", format="squad", task="squad")


def test_another_format_is_not_squad(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text('{"data": [{"articles": []}]}')
    with pytest.raises(WbragError, match="expected a field 'paragraphs' .a list., found articles"):
        corpus("squad", path)
    path.write_text('{"data": [{"paragraphs": "x"}]}')
    with pytest.raises(WbragError, match="found paragraphs as text"):
        corpus("squad", path)


@pytest.mark.parametrize("as_list", [True, False])
def test_hotpotqa(tmp_path: Path, as_list: bool) -> None:
    record = {
        "_id": "h1",
        "question": "Which?",
        "answer": "yes",
        "type": "bridge",
        "supporting_facts": [["T1", 0]],
        "context": [["T1", ["One.", " Two."]], ["T2", ["Three.", "Four."]]],
    }
    path = lines(tmp_path / "hotpot.json", [record] if as_list else record)
    passages = corpus("hotpotqa", path)
    assert [(p.title, p.text) for p in passages] == [("T1", "One. Two."), ("T2", "Three. Four.")]
    metadata = {"gold": [passages[0].id], "type": "bridge"}
    assert examples("hotpotqa", path) == [Example("h1", "Which?", ("yes",), metadata=metadata)]


def test_hotpotqa_as_on_the_hub(tmp_path: Path) -> None:
    context = {"title": ["T1", "T2"], "sentences": [["One."], ["Two."]]}
    facts = {"title": ["T2"], "sent_id": [0]}
    row = {"id": "h1", "question": "Which?", "answer": "yes", "context": context, "supporting_facts": facts}
    path = lines(tmp_path / "h.jsonl", row)
    assert examples("hotpotqa", path)[0].metadata == {"gold": [corpus("hotpotqa", path)[1].id]}


def test_fever(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "fever.jsonl",
        {"id": 7, "claim": "X is Y.", "label": "SUPPORTS", "evidence": [[[1, 2, "X_page", 0]], [[1, 3, "X_page", 4]]]},
        {"id": 8, "claim": "Z.", "label": "NOT ENOUGH INFO", "evidence": [[[1, None, None, None]]]},
    )
    assert examples("fever", path) == [
        Example("7", "X is Y.", ("SUPPORTS",), metadata={"gold": ["X_page"]}),
        Example("8", "Z.", ("NOT ENOUGH INFO",)),
    ]
    assert FORMATS["fever"].corpus is None


def test_boolq(tmp_path: Path) -> None:
    path = lines(tmp_path / "b.jsonl", {"question": "is it", "title": "T", "passage": "It is.", "answer": False})
    [passage] = corpus("boolq", path)
    [question] = examples("boolq", path)
    assert (passage.title, passage.text) == ("T", "It is.")
    assert (question.golden_answers, question.metadata) == (("False",), {"gold": [passage.id]})


def test_nq(tmp_path: Path) -> None:
    path = lines(tmp_path / "nq.jsonl", {"question": "when", "answer": ["1972", "Dec 1972"]})
    [question] = examples("nq", path)
    assert question.golden_answers == ("1972", "Dec 1972")
    assert question.id == examples("nq", path)[0].id


def test_kilt(tmp_path: Path) -> None:
    pages = lines(
        tmp_path / "kilt.jsonl",
        {
            "wikipedia_id": "42",
            "wikipedia_title": "T",
            "text": ["T\n", "First.\n", "Second.\n"],
            "history": {"timestamp": "2019-08-10T06:32:23Z"},
        },
    )
    assert corpus("kilt", pages) == [Passage("42", "T", "First.\n\nSecond.", updated_at="2019-08-10T06:32:23Z", end=15)]
    output = [{"answer": "Douglasville"}, {"provenance": [{"wikipedia_id": "42", "title": "T"}]}]
    questions = lines(
        tmp_path / "zsre.jsonl", {"id": "z1", "input": "Ray [SEP] died in", "output": output, "meta": {"k": 1}}
    )
    metadata = {"k": 1, "gold": ["42"]}
    assert examples("kilt", questions) == [Example("z1", "Ray [SEP] died in", ("Douglasville",), metadata=metadata)]


@pytest.mark.parametrize(("format", "name", "tab"), [("csv", "a.csv", ","), ("csv", "a.tsv", "\t"), ("tsv", "b", "\t")])
def test_tables(tmp_path: Path, format: str, name: str, tab: str) -> None:
    path = tmp_path / name
    rows = [["id", "query", "answer"], ["1", "Who?", '"[""A"", ""B""]"'], ["2", '"How\nmany?"', "[sic]"]]
    path.write_text("".join(tab.join(row) + "\n" for row in rows), encoding="utf-8-sig")
    assert examples(format, path, question="query", golden_answers="answer") == [
        Example("1", "Who?", ("A", "B")),
        Example("2", "How\nmany?", ("[sic]",)),
    ]
    path.write_text(tab.join(rows[0]) + "\n1\n")
    with pytest.raises(WbragError, match="line 2: expected 3 cells, as the header, found fewer"):
        examples(format, path, question="query", golden_answers="answer")


def test_a_document_may_be_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,text\n1," + "x" * 140_000)
    assert corpus("csv", path)[0].end == 140_000


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"query": ["Who?"], "a": [{"aliases": ["A", "B"]}], "vector": pa.array([[0.5, 0.5]])})
    pq.write_table(table, tmp_path / "e.parquet")
    for path in (tmp_path, tmp_path / "e.parquet"):
        [question] = examples("parquet", path, question="query", golden_answers="a.aliases")
        assert (question.question, question.golden_answers) == ("Who?", ("A", "B"))
    with pytest.raises(WbragError, match="found an object with aliases.*--columns"):
        examples("parquet", tmp_path, question="query", golden_answers="a")
    (tmp_path / "e.parquet").write_text("not Parquet")
    with pytest.raises(WbragError, match="found a broken one"):
        examples("parquet", tmp_path)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "e.jsonl", {"query": "Who?", "golden_answers": ["A"]})
    missing = "line 1: expected a column 'question', found query, golden_answers; .*--columns question=<column>"
    with pytest.raises(WbragError, match=missing):
        examples("jsonl", path)
    with pytest.raises(WbragError, match=r"expected a column 'answers.text'.*--columns golden_answers="):
        examples("jsonl", path, question="query", golden_answers="answers.text")
    with pytest.raises(WbragError, match=r"expected a column 'text' \(or 'contents'\)"):
        corpus("jsonl", path, id="query")


def test_hf(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(
        name: str, config: str | None, split: str, streaming: bool, revision: str | None
    ) -> list[dict[str, Any]]:
        asked.append((name, config, split, revision))
        return [{"question": "Who?", "answer": ["A"]}]

    module = ModuleType("datasets")
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(UsageError, match=r'pip install "wbrag\[hf\]"'):
        examples("hf", "org/set")
    monkeypatch.setattr(module, "load_dataset", load_dataset, raising=False)
    assert examples("hf", "org/set:main:test", golden_answers="answer")[0].golden_answers == ("A",)
    examples("hf", "org/set", golden_answers="answer")
    assert asked == [("org/set", "main", "test", None), ("org/set", None, "train", None)]
    monkeypatch.setattr(module, "load_dataset", lambda *a, **k: 1 / 0)
    with pytest.raises(WbragError, match="cannot read the Hugging Face dataset org/set"):
        examples("hf", "org/set")


@pytest.mark.parametrize(
    ("format", "record"),
    [
        ("hotpotqa", {"question": "Who?", "answer": "A", "supporting_facts": {"id": 1}}),
        ("hotpotqa", {"question": "Who?", "answer": "A", "supporting_facts": [[]]}),
        ("hotpotqa", {"question": "Who?", "answer": "A", "context": [None]}),
        ("hotpotqa", {"question": "Who?", "answer": "A", "context": [["t", True]]}),
        ("fever", {"claim": "c", "label": "SUPPORTS", "evidence": 3}),
        ("fever", {"claim": "c", "label": "SUPPORTS", "evidence": [[None]]}),
        ("fever", {"claim": "c", "label": "SUPPORTS", "evidence": [[{"a": 1, "b": 2, "c": 3}]]}),
        ("kilt", {"input": "Who?", "output": ["A"]}),
        ("kilt", {"input": "Who?", "output": [{"answer": "A", "provenance": 5}]}),
        ("kilt", {"input": "Who?", "output": 5}),
    ],
)
def test_a_record_of_another_shape_is_one_sentence(tmp_path: Path, format: str, record: Any) -> None:
    """What fuzzing found: each of these left a traceback."""
    path = lines(tmp_path / "a.jsonl", record)
    for reader in (corpus, examples):
        if getattr(FORMATS[format], {corpus: "corpus", examples: "examples"}[reader]):
            with pytest.raises(WbragError, match=r"a.jsonl, line 1( \(id .*\))?: expected ") as refused:
                reader(format, path)
            assert "\n" not in str(refused.value)


def test_names_are_quoted_on_one_line_and_not_by_the_thousand(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"a\nb": 1} | {f"column {i}": i for i in range(5000)})
    with pytest.raises(WbragError, match=r"expected a column 'text' .*, found a b, column 0, .* …; name it") as refused:
        corpus("jsonl", path)
    assert len(str(refused.value)) < 500

"""BEIR: a corpus, queries and qrels in one folder (https://github.com/beir-cellar/beir), and TREC's qrels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, listed, location
from wbrag.core.types import Example, Passage
from wbrag.data.bounds import not_utf8
from wbrag.data.opening import PACKED, open_lines, unpacked_name
from wbrag.data.readers import json_lines
from wbrag.data.records import labelled, named_id, need, passage
from wbrag.data.source import Input, Record, Records


def beir_corpus(source: Input) -> Iterator[Passage]:
    rows = json_lines(source, _beir_file(source.path, "corpus.jsonl"))
    return source.each(rows, lambda _, record: passage(source, record, {"id": "_id"}))


Query = tuple[str, str, Mapping[str, Any]]


def beir_queries(source: Input) -> Iterator[Query]:
    """`(query id, text, record)` of a BEIR folder, a queries.jsonl, or a topics .tsv of `id<TAB>text`."""
    path, values = _beir_file(source.path, "queries.jsonl"), source.values

    def query(where: str, record: Record) -> Iterator[Query]:
        yield values.identifier(named_id(record)), need(where, record, "text", str), record

    def topic(where: str, record: Record) -> Iterator[Query]:
        query_id, tab, text = record["line"].partition("\t")
        if not tab:
            raise WbragError(f"{where}: expected id<TAB>text, found no tab; is it a topics file?")
        yield values.identifier(query_id), text, {}

    is_topics = unpacked_name(path.name).endswith(".tsv")
    return source.each(*((_text_lines(source, path), topic) if is_topics else (json_lines(source, path), query)))


def _text_lines(source: Input, path: Location) -> Records:
    first = True
    with open_lines(path, source.began) as lines:
        for number, line in enumerate(lines, 1):
            source.values.where = where = f"{path}, line {number}"
            if wrong := not_utf8(line):
                source.refuse(WbragError(f"{where}: {wrong}; convert the file to UTF-8"), None)
            elif line.strip():
                yield where, {"line": line.rstrip("\n"), "first": first}
                first = False


def beir_qrels(path: str | Location, source: Input | None = None) -> dict[str, dict[str, int]]:
    """{query id: {passage id: grade}} of a BEIR qrels .tsv, a TREC qrels file, or all .tsv files of a folder."""
    path, source = location(path), source or Input(str(path))
    grades: dict[str, dict[str, int]] = {}

    def read(where: str, record: Record) -> Iterator[tuple[str, str, int]]:
        line = record["line"]
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        try:
            grade = int(float(cells[-1]))
        except (ValueError, OverflowError):
            grade = None
        if grade is None and cells[-1].replace("_", "").isalpha() and record["first"]:
            return  # a header
        if len(cells) not in (3, 4) or grade is None:
            found = f"expected query id, passage id and grade, found {line.strip()!r}"
            raise WbragError(f"{where}: {found}; is it a qrels file?")
        yield cells[0], cells[-2], grade

    files = [f for end in ("", *PACKED) for f in listed(path, f"*.tsv{end}")] if path.is_dir() else [path]
    for file in files:
        for query_id, passage_id, grade in source.each(_text_lines(source, file), read):
            grades.setdefault(query_id, {})[passage_id] = grade
    return grades


def beir_examples(source: Input) -> Iterator[Example]:
    """Queries with an answer in the record or its metadata, as BEIR's HotpotQA has; gold passages from qrels/."""
    qrels = location(source.path) / "qrels"
    grades = beir_qrels(qrels, source) if qrels.is_dir() else {}
    hint = "BEIR queries have no answers: take the set in its own format, or add golden_answers to each query"

    def question(where: str, query: Query) -> Iterator[Example]:
        query_id, text, record = query
        metadata = record.get("metadata") or {}
        answers = (part.get(name) for part in (record, metadata) for name in ("golden_answers", "answers", "answer"))
        gold = [id for id, grade in grades.get(query_id, {}).items() if grade > 0]
        found = next((answer for answer in answers if answer), None)
        yield from labelled(source, query_id, text, found, {"gold": gold} if gold else {}, hint)

    return source.each(((source.where, query) for query in beir_queries(source)), question)


def _beir_file(path: str, name: str) -> Location:
    """The file itself, or `name`, perhaps packed, in the folder."""
    folder = location(path)
    if not folder.is_dir():
        return folder
    for end in ("", *PACKED):
        if (folder / f"{name}{end}").exists():
            return folder / f"{name}{end}"
    raise WbragError(f"{path}: expected a BEIR folder with {name}, found none; give the file itself")

"""Dataset formats: one small reader for each format that question sets and corpora are published in.

A reader takes an `Input` and streams `Passage`s or `Example`s; it raises WbragError for a record that does not fit.
Where a format has no passage ids, a passage's id is the hash of its contents, so that a context repeated under several
questions has one id (ingest keeps it once) and the questions' `metadata["gold"]` can point at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, listed, location
from wbrag.core.types import Example, Passage, content_hash
from wbrag.data.readers import (
    Input,
    Records,
    hub_rows,
    json_items,
    json_lines,
    json_list_or_lines,
    open_text,
    parquet_rows,
    table_lines,
)
from wbrag.data.records import as_text, example, labelled, need, passage


@dataclass(frozen=True, slots=True)
class Format:
    """What can be read from a format. `mapped`: its field names may be changed by a column map."""

    corpus: Callable[[Input], Iterator[Passage]] | None = None
    examples: Callable[[Input], Iterator[Example]] | None = None
    mapped: bool = False


def _corpus(rows: Callable[[Input], Records], source: Input) -> Iterator[Passage]:
    for where, record in rows(source):
        yield passage(where, record, source.columns)


def _examples(rows: Callable[[Input], Records], source: Input) -> Iterator[Example]:
    for where, record in rows(source):
        yield from example(source, where, record)


def _mapped(rows: Callable[[Input], Records]) -> Format:
    return Format(partial(_corpus, rows), partial(_examples, rows), mapped=True)


def _hashed(title: str, text: str) -> Passage:
    return Passage(content_hash(f"{title}\n{text}")[:16], title, text, end=len(text))


# BEIR: https://github.com/beir-cellar/beir


def beir_corpus(source: Input) -> Iterator[Passage]:
    for where, record in json_lines(source, _beir_file(source.path, "corpus.jsonl")):
        yield passage(where, record, {"id": "_id"})


def beir_queries(source: Input) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """`(where, query id, text, record)` of a BEIR folder, a queries.jsonl, or a topics .tsv of `id<TAB>text`."""
    path = _beir_file(source.path, "queries.jsonl")
    if not path.name.removesuffix(".gz").endswith(".tsv"):
        for where, record in json_lines(source, path):
            query_id = as_text(record.get("_id") or record.get("id"))
            yield where, query_id or need(where, record, "_id", str), need(where, record, "text", str), record
        return
    with open_text(path, source) as lines:
        for number, line in enumerate(lines, 1):
            query_id, tab, text = line.rstrip("\n").partition("\t")
            if not tab:
                raise WbragError(f"{path}, line {number}: expected id<TAB>text, found no tab; is it a topics file?")
            yield f"{path}, line {number}", query_id, text, {}


def beir_qrels(path: str | Location) -> dict[str, dict[str, int]]:
    """{query id: {passage id: grade}} of a BEIR qrels .tsv, a TREC qrels file, or all .tsv files of a folder."""
    path = location(path)
    grades: dict[str, dict[str, int]] = {}
    for file in listed(path, "*.tsv*") if path.is_dir() else [path]:
        with open_text(file) as lines:
            for number, line in enumerate(lines, 1):
                cells = line.split()
                if number == 1 and cells[-1:] == ["score"]:
                    continue
                if len(cells) not in (3, 4) or not cells[-1].lstrip("-").isdigit():
                    found = f"expected query id, passage id and grade, found {line.strip()!r}"
                    raise WbragError(f"{file}, line {number}: {found}; is it a qrels file?")
                grades.setdefault(cells[0], {})[cells[-2]] = int(cells[-1])
    return grades


def beir_examples(source: Input) -> Iterator[Example]:
    """Queries with an answer in the record or its metadata, as BEIR's HotpotQA has; gold passages from qrels/."""
    qrels = location(source.path) / "qrels"
    grades = beir_qrels(qrels) if qrels.is_dir() else {}
    hint = "BEIR queries have no answers: take the set in its own format, or add golden_answers to each query"
    for where, query_id, text, record in beir_queries(source):
        metadata = record.get("metadata") or {}
        answers = (part.get(name) for part in (record, metadata) for name in ("golden_answers", "answers", "answer"))
        gold = [id for id, grade in grades.get(query_id, {}).items() if grade > 0]
        found = next((answer for answer in answers if answer), None)
        yield from labelled(source, where, query_id, text, found, {"gold": gold} if gold else {}, hint)


def _beir_file(path: str, name: str) -> Location:
    """The file itself, or `name` (perhaps .gz) in the folder."""
    folder = location(path)
    if not folder.is_dir():
        return folder
    for file in (folder / name, folder / f"{name}.gz"):
        if file.exists():
            return file
    raise WbragError(f"{path}: expected a BEIR folder with {name}, found none; give the file itself")


# SQuAD 1.1: https://rajpurkar.github.io/SQuAD-explorer/


def _squad(source: Input) -> Iterator[tuple[str, Passage, list[Any]]]:
    for where, article in json_items(source, "data.item"):
        for paragraph in need(where, article, "paragraphs", list):
            context = need(where, paragraph, "context", str)
            yield where, _hashed(as_text(article.get("title")), context), need(where, paragraph, "qas", list)


def squad_corpus(source: Input) -> Iterator[Passage]:
    for _, context, _ in _squad(source):
        yield context


def squad_examples(source: Input) -> Iterator[Example]:
    hint = "SQuAD 2.0 marks such questions is_impossible: drop them"
    for where, context, questions in _squad(source):
        for qa in questions:
            answers = [need(where, answer, "text", str) for answer in need(where, qa, "answers", list)]
            question = need(where, qa, "question", str)
            yield from labelled(source, where, qa.get("id"), question, answers, {"gold": [context.id]}, hint)


# HotpotQA: https://hotpotqa.github.io/ (2WikiMultihopQA has the same shape)


def _hotpotqa_contexts(where: str, record: Mapping[str, Any]) -> Iterator[Passage]:
    context = record.get("context")
    if isinstance(context, Mapping):  # as the Hugging Face hub has it
        pairs = list(zip(need(where, context, "title", list), need(where, context, "sentences", list), strict=False))
    else:
        pairs = need(where, record, "context", list)
    for pair in pairs:
        if len(pair) != 2:
            raise WbragError(f"{where}: expected context as [title, [sentences]], found {len(pair)} parts")
        title, sentences = pair
        text = ""
        for sentence in sentences:
            gap = "" if not text or text[-1].isspace() or sentence[:1].isspace() else " "
            text += gap + sentence
        yield _hashed(title, text)


def hotpotqa_corpus(source: Input) -> Iterator[Passage]:
    for where, record in json_list_or_lines(source):
        yield from _hotpotqa_contexts(where, record)


def hotpotqa_examples(source: Input) -> Iterator[Example]:
    for where, record in json_list_or_lines(source):
        facts = record.get("supporting_facts") or []
        titles = set(facts["title"] if isinstance(facts, Mapping) else (fact[0] for fact in facts))
        contexts = _hotpotqa_contexts(where, record) if record.get("context") else iter(())
        metadata: dict[str, Any] = {"gold": [context.id for context in contexts if context.title in titles]}
        metadata |= {name: record[name] for name in ("type", "level") if name in record}
        query_id = record.get("_id") or record.get("id")
        question = need(where, record, "question", str)
        yield from labelled(
            source, where, query_id, question, record.get("answer"), metadata, "the test set is not labelled"
        )


# FEVER: https://fever.ai/dataset/fever.html


def fever_examples(source: Input) -> Iterator[Example]:
    """Claims; the label (SUPPORTS, REFUTES or NOT ENOUGH INFO) is the answer, the evidence pages are gold."""
    for where, record in json_lines(source):
        pieces = [piece for group in record.get("evidence") or [] for piece in group]
        pages = dict.fromkeys(piece[2] for piece in pieces if len(piece) > 2 and piece[2])
        claim = need(where, record, "claim", str)
        hint = "the test set is not labelled"
        yield from labelled(
            source, where, record.get("id"), claim, record.get("label"), {"gold": list(pages)} if pages else {}, hint
        )


# BoolQ: https://github.com/google-research-datasets/boolean-questions


def boolq_corpus(source: Input) -> Iterator[Passage]:
    for where, record in json_lines(source):
        yield _hashed(as_text(record.get("title")), need(where, record, "passage", str))


def boolq_examples(source: Input) -> Iterator[Example]:
    """The answer is "True" or "False"; the id comes from question and passage."""
    for where, record in json_lines(source):
        question, text = need(where, record, "question", str), as_text(record.get("passage"))
        gold = {"gold": [_hashed(as_text(record.get("title")), text).id]} if text else {}
        answer = record.get("answer")
        query_id = record.get("id") or content_hash(f"{question}\n{text}\n{answer}")[:16]
        yield from labelled(source, where, query_id, question, answer, gold, "the test set is not labelled")


# NQ-open: https://github.com/google-research-datasets/natural-questions/tree/master/nq_open


def nq_examples(source: Input) -> Iterator[Example]:
    for where, record in json_lines(source):
        question = need(where, record, "question", str)
        yield from labelled(
            source, where, record.get("id"), question, record.get("answer"), hint="the test set is not labelled"
        )


# KILT, zsRE among it: https://github.com/facebookresearch/KILT


def kilt_corpus(source: Input) -> Iterator[Passage]:
    """The knowledge source: whole Wikipedia pages, so ingest them with chunks. Paragraphs are joined by blank lines."""
    for where, record in json_lines(source):
        page = next((record[name] for name in ("wikipedia_id", "_id", "id") if record.get(name)), None)
        title = need(where, record, "wikipedia_title", str)
        paragraphs = [paragraph.strip("\n") for paragraph in need(where, record, "text", list)]
        if paragraphs[:1] == [title]:
            del paragraphs[0]
        stamp = as_text((record.get("history") or {}).get("timestamp"))
        row = {"id": page, "title": title, "text": paragraphs, "updated_at": stamp}
        yield passage(where, row, {})


def kilt_examples(source: Input) -> Iterator[Example]:
    """`metadata["gold"]` holds the Wikipedia page ids of the provenance, the ids of `kilt_corpus`."""
    for where, record in json_lines(source):
        outputs = record.get("output") or []
        answers = [output["answer"] for output in outputs if output.get("answer")]
        places = [place for output in outputs for place in output.get("provenance") or []]
        gold = dict.fromkeys(as_text(place["wikipedia_id"]) for place in places if place.get("wikipedia_id"))
        metadata = dict(record.get("meta") or {}) | ({"gold": list(gold)} if gold else {})
        question = need(where, record, "input", str)
        yield from labelled(
            source, where, record.get("id"), question, answers, metadata, "KILT's test sets are not labelled"
        )


MISSHAPEN = (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError)  # what a reader trips over
T = TypeVar("T", Passage, Example)


def _shaped(name: str, reader: Callable[[Input], Iterator[T]] | None) -> Callable[[Input], Iterator[T]] | None:
    """Readers check the fields they need by name; whatever else is odd about a record ends in one sentence here."""
    return None if reader is None else partial(_read, name, reader)


def _read(name: str, reader: Callable[[Input], Iterator[T]], source: Input) -> Iterator[T]:
    try:
        yield from reader(source)
    except MISSHAPEN as error:
        found, where = " ".join(f"{type(error).__name__}: {error}".split())[:200], source.where or source.path
        raise WbragError(
            f"{where}: expected {name} records, found another shape ({found}); check the format"
        ) from error


_READERS: dict[str, Format] = {
    "flashrag": _mapped(json_lines),
    "jsonl": _mapped(json_lines),
    "csv": _mapped(lambda source: table_lines(source, _delimiter(source.path))),
    "tsv": _mapped(partial(table_lines, delimiter="\t")),
    "parquet": _mapped(parquet_rows),
    "hf": _mapped(hub_rows),
    "beir": Format(beir_corpus, beir_examples),
    "squad": Format(squad_corpus, squad_examples),
    "hotpotqa": Format(hotpotqa_corpus, hotpotqa_examples),
    "fever": Format(None, fever_examples),
    "boolq": Format(boolq_corpus, boolq_examples),
    "nq": Format(None, nq_examples),
    "kilt": Format(kilt_corpus, kilt_examples),
}
FORMATS = {name: Format(_shaped(name, f.corpus), _shaped(name, f.examples), f.mapped) for name, f in _READERS.items()}


def _delimiter(path: str) -> str:
    return "\t" if path.removesuffix(".gz").endswith(".tsv") else ","

"""Dataset formats: one small reader for each format that question sets and corpora are published in.

A reader takes an `Input` and streams `Passage`s or `Example`s; a record that does not fit it gives to `Input.refuse`.
Where a format has no passage ids, a passage's id is the hash of its contents, so that a context repeated under several
questions has one id (ingest keeps it once) and the questions' `metadata["gold"]` can point at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from wbrag.core.errors import WbragError
from wbrag.core.types import Example, Passage, content_hash
from wbrag.data.beir import beir_corpus, beir_examples
from wbrag.data.readers import hub_rows, json_items, json_lines, json_records, parquet_rows
from wbrag.data.records import example, labelled, named_id, need, passage, passes
from wbrag.data.source import MISSHAPEN, Input, Record, Records, misshapen
from wbrag.data.tables import csv_rows, tsv_rows

UNLABELLED = "the test set is not labelled"


@dataclass(frozen=True, slots=True)
class Format:
    """What can be read from a format.

    `mapped`: its field names may be changed by a column map; `table`: it is a text of lines and cells; `metadata`:
    records of its corpora may hold more than is read of them.
    """

    corpus: Any = None  # of an Input, its passages
    examples: Any = None  # of an Input, its examples
    mapped: bool = False
    table: bool = False
    metadata: bool = False


def _corpus(rows: Callable[[Input], Records], source: Input) -> Iterator[Passage]:
    return source.each(_wanted(rows, source), lambda _, record: passage(source, record))


def _examples(rows: Callable[[Input], Records], source: Input) -> Iterator[Example]:
    return source.each(_wanted(rows, source), lambda _, record: example(source, record))


def _wanted(rows: Callable[[Input], Records], source: Input) -> Records:
    return ((where, record) for where, record in rows(source) if passes(source, record))


def _mapped(rows: Callable[[Input], Records], table: bool = False) -> Format:
    return Format(partial(_corpus, rows), partial(_examples, rows), mapped=True, table=table, metadata=True)


def _context(source: Input, title: Any, text: Any) -> Iterator[Passage]:
    """A passage without an id of its own, as `passage` reads one that has."""
    return passage(source, {"id": _context_id(source, title, text), "title": title, "text": text}, {})


def _context_id(source: Input, title: Any, text: Any) -> str:
    contents = f"{source.values.text('title', title)}\n{source.values.text('text', text)}"
    return content_hash(contents)[:16]


# SQuAD 1.1 and 2.0: https://rajpurkar.github.io/SQuAD-explorer/


def _squad(source: Input) -> Records:
    """Paragraphs, each with its article's title."""

    def paragraphs(where: str, article: Record) -> Iterator[tuple[str, Record]]:
        for paragraph in need(where, article, "paragraphs", list):
            yield where, {"paragraph": paragraph, "title": article.get("title")}

    def whole(where: str, found: Record) -> Iterator[tuple[str, Record]]:
        paragraph = found["paragraph"]
        need(where, paragraph, "context", str), need(where, paragraph, "qas", list)
        yield where, {**paragraph, "title": found["title"]}

    return source.each(source.each(json_items(source, "data"), paragraphs), whole)


def squad_corpus(source: Input) -> Iterator[Passage]:
    return source.each(_squad(source), lambda _, found: _context(source, found.get("title"), found["context"]))


def squad_examples(source: Input) -> Iterator[Example]:
    def question(where: str, found: Record) -> Iterator[Example]:
        qa = found["qa"]
        asked, gold = need(where, qa, "question", str), {"gold": [found["context"]]}
        given = [] if qa.get("is_impossible") else need(where, qa, "answers", list)
        answers = [need(where, answer, "text", str) for answer in given]
        yield from labelled(source, qa.get("id"), asked, answers, gold, "SQuAD 2.0 marks such questions is_impossible")

    def questions(where: str, found: Record) -> Iterator[tuple[str, Record]]:
        context = _context_id(source, found.get("title"), found["context"])
        return ((where, {"qa": qa, "context": context}) for qa in found["qas"])

    return source.each(source.each(_squad(source), questions), question)


# HotpotQA: https://hotpotqa.github.io/ (2WikiMultihopQA has the same shape)


def _hotpotqa_contexts(where: str, record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and text of each."""
    context = record.get("context")
    if isinstance(context, Mapping):  # as the Hugging Face hub has it
        pairs = list(zip(need(where, context, "title", list), need(where, context, "sentences", list), strict=False))
    else:
        pairs = need(where, record, "context", list)
    for pair in pairs:
        if len(pair) != 2:
            raise WbragError(f"{where}: expected context as [title, [sentences]], found {len(pair)} parts")
        title, sentences = pair
        sentences = [sentences] if isinstance(sentences, str) else [said for said in sentences if said is not None]
        text = ""
        for sentence in sentences:
            gap = "" if not text or text[-1].isspace() or sentence[:1].isspace() else " "
            text += gap + sentence
        yield title, text


def hotpotqa_corpus(source: Input) -> Iterator[Passage]:
    def read(where: str, record: Record) -> Iterator[Passage]:
        for title, text in _hotpotqa_contexts(where, record):
            yield from _context(source, title, text)

    return source.each(json_records(source), read)


def hotpotqa_examples(source: Input) -> Iterator[Example]:
    def question(where: str, record: Record) -> Iterator[Example]:
        facts = record.get("supporting_facts") or []
        titles = set(facts["title"] if isinstance(facts, Mapping) else (fact[0] for fact in facts))
        contexts = _hotpotqa_contexts(where, record) if record.get("context") else iter(())
        gold = [_context_id(source, title, text) for title, text in contexts if title in titles]
        metadata: dict[str, Any] = {"gold": gold}
        metadata |= {name: record[name] for name in ("type", "level") if name in record}
        asked = need(where, record, "question", str)
        yield from labelled(source, named_id(record), asked, record.get("answer"), metadata, UNLABELLED)

    return source.each(json_records(source), question)


# FEVER: https://fever.ai/dataset/fever.html


def fever_examples(source: Input) -> Iterator[Example]:
    """Claims; the label (SUPPORTS, REFUTES or NOT ENOUGH INFO) is the answer, the evidence pages are gold."""

    def claim(where: str, record: Record) -> Iterator[Example]:
        pieces = [piece for group in record.get("evidence") or [] for piece in group]
        pages = dict.fromkeys(piece[2] for piece in pieces if len(piece) > 2 and piece[2])
        gold = {"gold": list(pages)} if pages else {}
        said = need(where, record, "claim", str)
        yield from labelled(source, record.get("id"), said, record.get("label"), gold, UNLABELLED)

    return source.each(json_records(source), claim)


# BoolQ: https://github.com/google-research-datasets/boolean-questions


def boolq_corpus(source: Input) -> Iterator[Passage]:
    def read(where: str, record: Record) -> Iterator[Passage]:
        return _context(source, record.get("title"), need(where, record, "passage", str))

    return source.each(json_records(source), read)


def boolq_examples(source: Input) -> Iterator[Example]:
    """The answer is "True" or "False"; the id comes from question and passage."""

    def question(where: str, record: Record) -> Iterator[Example]:
        asked, text = need(where, record, "question", str), source.values.text("passage", record.get("passage"))
        gold = {"gold": [_context_id(source, record.get("title"), text)]} if text else {}
        answer = record.get("answer")
        query_id = record.get("id") or content_hash(f"{asked}\n{text}\n{answer}")[:16]
        yield from labelled(source, query_id, asked, answer, gold, UNLABELLED)

    return source.each(json_records(source), question)


# NQ-open: https://github.com/google-research-datasets/natural-questions/tree/master/nq_open


def nq_examples(source: Input) -> Iterator[Example]:
    def question(where: str, record: Record) -> Iterator[Example]:
        asked = need(where, record, "question", str)
        yield from labelled(source, record.get("id"), asked, record.get("answer"), hint=UNLABELLED)

    return source.each(json_records(source), question)


# KILT, zsRE among it: https://github.com/facebookresearch/KILT


def kilt_corpus(source: Input) -> Iterator[Passage]:
    """The knowledge source: whole Wikipedia pages, so ingest them with chunks. Paragraphs are joined by blank lines."""

    def page(where: str, record: Record) -> Iterator[Passage]:
        id = next((record[name] for name in ("wikipedia_id", "_id", "id") if record.get(name)), None)
        title = need(where, record, "wikipedia_title", str)
        paragraphs = [text.strip("\n") for text in need(where, record, "text", list) if text is not None]
        if paragraphs[:1] == [title]:
            del paragraphs[0]
        stamp = (record.get("history") or {}).get("timestamp")
        yield from passage(source, {"id": id, "title": title, "text": paragraphs, "updated_at": stamp}, {})

    return source.each(json_lines(source), page)


def kilt_examples(source: Input) -> Iterator[Example]:
    """`metadata["gold"]` holds the Wikipedia page ids of the provenance, the ids of `kilt_corpus`."""

    def question(where: str, record: Record) -> Iterator[Example]:
        outputs = record.get("output") or []
        answers = [output["answer"] for output in outputs if output.get("answer")]
        places = [place for output in outputs for place in output.get("provenance") or []]
        gold = dict.fromkeys(place["wikipedia_id"] for place in places if place.get("wikipedia_id"))
        metadata = dict(record.get("meta") or {}) | ({"gold": list(gold)} if gold else {})
        asked = need(where, record, "input", str)
        hint = "KILT's test sets are not labelled"
        yield from labelled(source, record.get("id"), asked, answers, metadata, hint)

    return source.each(json_lines(source), question)


T = TypeVar("T", Passage, Example)


def _placed(name: str, reader: Callable[[Input], Iterator[T]] | None) -> Any:
    """The reader, with the place of every item; what is odd about a file beyond its records ends in one sentence."""
    return None if reader is None else partial(_read, name, reader)


def _read(name: str, reader: Callable[[Input], Iterator[T]], source: Input) -> Iterator[tuple[str, T]]:
    try:
        for item in reader(source):
            yield source.where, item
    except MISSHAPEN as error:
        raise misshapen(name, source.where or source.path, error) from error


_READERS: dict[str, Format] = {
    "flashrag": _mapped(json_records),
    "jsonl": _mapped(json_records),
    "csv": _mapped(csv_rows, table=True),
    "tsv": _mapped(tsv_rows, table=True),
    "parquet": _mapped(parquet_rows),
    "hf": _mapped(hub_rows),
    "beir": Format(beir_corpus, beir_examples, metadata=True),
    "squad": Format(squad_corpus, squad_examples),
    "hotpotqa": Format(hotpotqa_corpus, hotpotqa_examples),
    "fever": Format(None, fever_examples),
    "boolq": Format(boolq_corpus, boolq_examples),
    "nq": Format(None, nq_examples),
    "kilt": Format(kilt_corpus, kilt_examples),
}
FORMATS = {n: replace(f, corpus=_placed(n, f.corpus), examples=_placed(n, f.examples)) for n, f in _READERS.items()}

"""Answer export: what a release answered a question set, from which documents, as files of other programs.

`trec`: a run, and beside it the qrels, for trec_eval, ir_measures and ranx. `ragas`: samples of one turn, for ragas and
what reads its names. `jsonl`: all that wbrag keeps. A file appears whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.errors import UsageError, unknown
from wbrag.core.io.files import Location, file_in_one_step
from wbrag.core.types import Example
from wbrag.data.chunk import CUT
from wbrag.data.trec import Qrels, run_of, write_qrels, write_run
from wbrag.enrich.rows import Row
from wbrag.enrich.usefulness import gold_ids
from wbrag.executor.runner import Runner
from wbrag.retrieval.external import is_external
from wbrag.retrieval.index.shard import PASSAGES, read_passages
from wbrag.units.layout import Layout
from wbrag.units.release_contents import release_ids

AnswerFormat = Literal["jsonl", "ragas", "trec"]
FORMATS: tuple[AnswerFormat, ...] = get_args(AnswerFormat)
PIECE = 5_000  # questions whose documents are looked up together


class Document(NamedTuple):
    title: str
    text: str

    @property
    def contents(self) -> str:
        return f"{self.title}\n{self.text}" if self.title else self.text


def export_answers(
    runner: Runner,
    examples: str,
    out: Location,
    format: AnswerFormat = "jsonl",
    *,
    release: str = "latest",
    method: str = "naive",
    limit: int | None = None,
) -> dict[str, Any]:
    """Write what `release` answered `examples` (NAME/SPLIT) to `out`; what nobody asked yet is asked first.

    Questions that failed are left out and counted, but in jsonl, where they have their `error`.
    """
    if format not in FORMATS:
        raise unknown("format", format, list(FORMATS))
    if release == "closed-book" and format == "trec":
        raise UsageError("expected a release that searches, found closed-book, which ranks nothing: choose another")
    if release != "closed-book":  # the same one for answers, documents and tag, whatever is published meanwhile
        release = runner.layout.release(release).id
    asked = {example.id: example for example in runner.layout.examples(examples, limit)}
    rows = runner.answers(examples, release=release, method=method, limit=limit)
    failed = sum(1 for row in rows if row["error"])
    files = [out]
    if format == "trec":
        files.append(out.with_suffix(".qrels"))
        if files[0] == files[1]:
            raise UsageError(f"expected a name for the run, found {out}, where its qrels go: choose another suffix")
        write_qrels(files[1], _qrels(runner.layout, release, list(asked.values())))
        write_run(out, run_of(row for row in rows if not row["error"]), f"wbrag-{release}-{method}")
    else:
        with file_in_one_step(out) as scratch, scratch.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in _records(runner.layout, release, rows, asked, format))
    said = {"questions": len(rows), "failed": failed, "of": release, "method": method, "format": format}
    return said | {"files": [str(file) for file in files]}


# -- records ------------------------------------------------------------------------------------------------------


def _records(
    layout: Layout, release: str, rows: Sequence[Row], asked: Mapping[str, Example], format: AnswerFormat
) -> Iterator[str]:
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        documents = _documents(layout, release, {id for row in piece for id in row.get("hit_ids") or ()})
        for row in piece:
            if format == "jsonl":
                record = _whole(row, documents)
            elif row["error"]:
                continue
            else:
                record = _sample(row, documents, asked[row["id"]])
            yield json.dumps(record, ensure_ascii=False)


def _whole(row: Row, documents: Mapping[str, Document]) -> dict[str, Any]:
    ids, scores, origins = (row.get(name) or () for name in ("hit_ids", "hit_scores", "hit_origins"))
    gone = Document("", "")
    hits = [
        {"id": id, "score": score, "origin": origin, **documents.get(id, gone)._asdict()}
        for id, score, origin in zip(ids, scores, origins, strict=True)
    ]
    kept = {name: value for name, value in row.items() if not name.startswith("hit_") and name != "asked"}
    return kept | {"details": json.loads(row.get("details") or "{}"), "hits": hits}


def _sample(row: Row, documents: Mapping[str, Document], example: Example) -> dict[str, Any]:
    """A `SingleTurnSample` of ragas 0.2 and later; `reference` is the first answer of several."""
    found = [id for id in row["hit_ids"] or () if id in documents]
    sample: dict[str, Any] = {
        "user_input": row["question"],
        "response": row["prediction"],
        "retrieved_contexts": [documents[id].contents for id in found],
        "retrieved_context_ids": found,
    }
    if example.golden_answers:
        sample["reference"] = example.golden_answers[0]
    if gold := gold_ids(example):
        sample["reference_context_ids"] = sorted(gold)
    return sample


def _documents(layout: Layout, release: str, ids: Collection[str]) -> dict[str, Document]:
    """The texts that the release has for these ids: what was read, whatever the corpus says by now."""
    if release == "closed-book" or not ids:
        return {}
    found: dict[str, Document] = {}
    if is_external(layout.config):
        found = {passage.id: Document(passage.title, passage.text) for passage in layout.passages(ids).values()}
    wanted = pa.array(sorted(ids), pa.string())
    for table in _tables(layout, release):
        for batch in table.to_batches():
            rows = batch.filter(pc.is_in(batch["id"], wanted)).select(PASSAGES.names).to_pylist()
            found |= {row["id"]: Document(row["title"], row["text"]) for row in rows}
    return found


def _tables(layout: Layout, release: str) -> Iterator[pa.Table]:
    for index, _ in layout.indexes(release):
        for shard in index.shards:
            yield read_passages(layout.path / "index" / shard.folder)


# -- trec ---------------------------------------------------------------------------------------------------------


def _qrels(layout: Layout, release: str, examples: Sequence[Example]) -> Qrels:
    """Grade 1 for the gold passages of each question, and for the units that were made from one of them."""
    relevant = _relevant(layout, release, {id for example in examples for id in gold_ids(example)})
    return {
        example.id: {id: 1 for name in sorted(gold_ids(example)) for id in relevant.get(name, [name])}
        for example in examples
    }


def _relevant(layout: Layout, release: str, gold: Collection[str]) -> dict[str, list[str]]:
    """By gold id the documents of the release that hold it: the passage or its pieces, and units made from these."""
    wanted = pa.array(sorted(gold), pa.string())
    found: dict[str, list[str]] = {}
    if is_external(layout.config):
        found = {id: [id] for id in gold}
    for table in _tables(layout, release):
        for ids in table["id"].chunks:
            _add(found, ids, ids, wanted)
    units = layout.shelf.table(["id", "sources"], release_ids(layout, layout.release(release)))
    for batch in units.to_batches():
        sources = pc.struct_field(pc.list_flatten(batch["sources"]), "id")
        _add(found, batch["id"].take(pc.list_parent_indices(batch["sources"])), sources, wanted)
    return found


def _add(found: dict[str, list[str]], ids: pa.Array, sources: pa.Array, wanted: pa.Array) -> None:
    """To `found`, by gold id, those of `ids` whose source, or the document that it was cut from, is `wanted`."""
    for named in (sources, pc.replace_substring_regex(sources, CUT, "")):
        mine = pc.is_in(named, wanted)
        for gold, id in zip(named.filter(mine).to_pylist(), ids.filter(mine).to_pylist(), strict=True):
            if id not in found.setdefault(gold, []):
                found[gold].append(id)

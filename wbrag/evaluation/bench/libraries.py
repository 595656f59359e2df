"""Libraries to compare: the units of a run beside the base index, and controls that hold nothing distilled.

An index is named by its documents and its encoder, so that the same documents are embedded once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location
from wbrag.core.types import Example, PassageText, unit_id
from wbrag.enrich.leakage_audit import leaks
from wbrag.enrich.rows import Row
from wbrag.executor.runner import Runner
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES, Block, build_once, read_passages
from wbrag.retrieval.index.words import with_keywords
from wbrag.units.layout import Index

FACTORY = "SQfp16"  # exact: a library is small


def library(runner: Runner, documents: Sequence[PassageText]) -> list[Index]:
    """The base index with one over `documents` beside it; the same documents are embedded once."""
    base, root = runner.layout.indexes("none")[0][0], runner.layout.path / "index"
    if not documents:
        return [(base, "base")]
    documents = sorted(set(documents))

    def blocks() -> Iterator[Block]:
        vectors = runner.embed([f"{d.title}\n{d.text}" for d in documents])
        yield vectors, pa.Table.from_pylist([d._asdict() for d in documents], PASSAGES)

    name = f"library-{fingerprint(base.encoder, documents)}"
    files = build_once(root, name, FACTORY, base.dimension, blocks())
    manifest = Manifest(base.encoder, base.encoder_model, base.dimension, FACTORY, (files,))
    if base.keywords:
        manifest = with_keywords(root, manifest, base, "library")
    return [(base, "base"), (manifest, "writeback")]


def units(verdicts: Sequence[Row]) -> list[PassageText]:
    """The distilled units of the accepted examples; a leaking one could not be published, so it is not measured."""
    return [unit_document(row) for row in verdicts if row["accepted"] and not leaks(row)]


def unit_document(row: Row) -> PassageText:
    """A row's unit under the id that the shelf would give it."""
    title, text = row["unit_title"], row["unit_text"]
    return PassageText(unit_id(f"{title}\n{text}"), title, text)


def displaced(verdicts: Sequence[Row]) -> dict[str, frozenset[str]]:
    """The passages that each unit, joined passages or a copy of them displaces, where any displaces its sources."""
    found: dict[str, frozenset[str]] = {}
    for row in verdicts:
        if row["accepted"]:
            ids = [s["id"] for s in row["sources"]]
            unit = unit_document(row).id
            found |= {unit: found.get(unit, frozenset()) | frozenset(ids), raw_id(ids): frozenset(ids)}
            found |= {copy_id(id): frozenset([id]) for id in ids}
    return found


def raw_id(ids: Sequence[str]) -> str:
    """Of the passages of `ids`, joined."""
    return "raw-" + "+".join(ids)


def copy_id(id: str) -> str:
    """Of a passage's copy."""
    return "copy-" + id


def raw(verdicts: Sequence[Row], passages: Mapping[str, PassageText]) -> list[PassageText]:
    """The retained passages of each accepted example, concatenated: what is distilled, undistilled."""
    groups = {tuple(s["id"] for s in row["sources"]) for row in verdicts if row["accepted"]}
    return [
        PassageText(raw_id(ids), " / ".join(passages[i].title for i in ids), " ".join(passages[i].text for i in ids))
        for ids in sorted(groups)
    ]


def copies(verdicts: Sequence[Row], passages: Mapping[str, PassageText]) -> list[PassageText]:
    """A copy of every retained passage: copies alone crowd noise out of the top k."""
    ids = {s["id"] for row in verdicts if row["accepted"] for s in row["sources"]}
    return [PassageText(copy_id(id), passages[id].title, passages[id].text) for id in sorted(ids)]


def question_rows(examples: Sequence[Example]) -> list[PassageText]:
    """Every labelled question with its answer, as it stands: no document, no gate, nothing distilled (RAW-RAG)."""
    return [PassageText(f"row-{e.id}", e.question, f"{e.question} {e.golden_answers[0]}") for e in examples]


def retained_passages(root: Location, base: Manifest, verdicts: Sequence[Row]) -> dict[str, PassageText]:
    """The texts of every retained passage."""
    return passages_of(root, base, {s["id"] for row in verdicts if row["accepted"] for s in row["sources"]})


def passages_of(root: Location, base: Manifest, ids: Collection[str]) -> dict[str, PassageText]:
    """The texts of `ids`, from the base index's own files."""
    wanted = pa.array(list(ids), pa.string())
    texts = (table.select(PASSAGES.names) for table in _tables(root, base))
    found = (table.filter(pc.is_in(table["id"], wanted)).to_pylist() for table in texts)
    return {row["id"]: PassageText(**row) for rows in found for row in rows}


def corpus_ids(root: Location, base: Manifest) -> list[str]:
    """Every passage's id, in the order of the index."""
    return [id for table in _tables(root, base) for id in table["id"].to_pylist()]


def _tables(root: Location, manifest: Manifest) -> Iterator[pa.Table]:
    for files in manifest.shards:
        yield read_passages(root / files.folder)

"""Data commands: `demo`, `ingest`, `index`.

Only the form of the flags is checked here; what a file holds, its reader checks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, filter_of
from wbrag.core.errors import UsageError

if TYPE_CHECKING:
    from wbrag.data.ingest import IngestResult
    from wbrag.data.reading import ReadOptions
    from wbrag.data.update import UpdateResult
    from wbrag.workspace import Workspace

FORMATS = tuple("flashrag beir squad hotpotqa fever boolq nq kilt jsonl csv tsv parquet hf".split())


def add(verb: Verb, verbs: Any) -> None:
    demo = verb("demo", _demo, "build the demo world, train its knowledge base, measure, write a page", "wbrag demo")
    demo.add_argument("--page", metavar="FILE", help="where the HTML page goes (default WORKSPACE/reports/demo.html)")
    demo.add_argument("--limit", type=int, metavar="N", help="only N questions of each set, for a quick look")
    ingest = verbs.add_parser("ingest", help="read a corpus or labelled examples")
    kinds = ingest.add_subparsers(metavar="WHAT", required=True)
    start = "wbrag ingest"
    corpus = verb("corpus", _ingest_corpus, "read a corpus into the workspace", f"{start} corpus data.jsonl.gz", kinds)
    examples = verb(
        "examples",
        _ingest_examples,
        "read labelled examples into the workspace",
        f"{start} examples train.jsonl --name nq --split train --task nq",
        kinds,
    )
    for sub in (corpus, examples):
        sub.add_argument("path", nargs="?", help="file, folder, or Hugging Face name")
        sub.add_argument("--format", choices=FORMATS, default="flashrag")
        sub.add_argument("--columns", metavar="FIELD=COLUMN,...", default="", help="for jsonl, csv, parquet and hf")
        sub.add_argument("--header", metavar="NAME,...", default="", help="columns of a csv or tsv that has no header")
        sub.add_argument(
            "--delimiter", default="", help="of csv and tsv: one character, or semicolon, pipe, tab, comma"
        )
        only = 'only records with these fields: {"lang": "de", "year": {"gte": 2019}}; see docs/security.md'
        sub.add_argument("--filter", metavar="JSON", help=only)
        sub.add_argument("--revision", default="", help="with the format hf: a commit, a tag or a branch")
        bad = "a record that does not fit: stop with its place, or skip it, count it and keep it in quarantine/"
        sub.add_argument("--on-bad", choices=("stop", "skip"), default="stop", help=bad)
    cut = "cut longer documents into about so many words; 0: never"
    corpus.add_argument("--chunk-words", type=int, default=100, help=cut)
    kept = "fields kept with every passage, to narrow searches by; a part of a field as author.name"
    corpus.add_argument("--metadata", metavar="FIELD,...", default="", help=kept)
    who = "who may see those whose field `groups` names nobody (keys have groups: `wbrag keys add`)"
    corpus.add_argument("--groups", metavar="NAME,...", default="", help=who)
    corpus.add_argument("--source", help="name of the source, kept with every passage")
    corpus.add_argument("--update", action="store_true", help="add and change these documents, and keep the others")
    corpus.add_argument("--delete", metavar="FILE", help="with --update: ids of documents to take out, one a line")
    examples.add_argument("--name", required=True)
    examples.add_argument("--split", required=True)
    examples.add_argument(
        "--task", default="qa", help="nq boolq fever zsre hotpotqa squad qa; qa/unicode for any script"
    )
    examples.add_argument("--unlabelled", action="store_true", help="questions alone, for enrich.gate_metric judge")
    index = verb("index", _index, "embed and index the corpus", "wbrag index --index.shards 4")
    index.add_argument("--dry-run", action="store_true", help="say what would be embedded and built; no model starts")


def _demo(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.cli.demo.run import run_demo

    result = run_demo(w, page=a.page, limit=a.limit)
    if a.json:
        return result
    from wbrag.cli.demo.story import tables

    return tables(result)


def _index(a: argparse.Namespace, w: Workspace) -> Any:
    if not a.dry_run:
        return w.index()
    found = w.runner.plan_index()
    sizes = {"shards": len(found.blocks), "to_build": len(found.wanted)}
    return {"passages": found.passages, "to_embed": found.new, **sizes}


def _ingest_corpus(a: argparse.Namespace, w: Workspace) -> Any:
    labels = {"metadata": _names(a.metadata), "groups": _names(a.groups)}
    how = {"chunk_words": a.chunk_words, "source": a.source, **labels, **_how(a)}
    if a.update:
        return _shown(w.update_corpus(a.path, a.format, delete=_ids(a.delete), progress=w.runner.progress, **how))
    if a.path is None or a.delete:
        raise UsageError("expected a corpus to read, or --update with --delete FILE, found neither: give a path")
    return _shown(w.ingest_corpus(a.path, a.format, **how))


def _ingest_examples(a: argparse.Namespace, w: Workspace) -> Any:
    if a.path is None:
        raise UsageError("expected examples to read, found no path: give a file")
    return _shown(w.ingest_examples(a.path, a.name, a.split, a.format, a.task, unlabelled=a.unlabelled, **_how(a)))


def _ids(file: str | None) -> list[str]:
    """The ids in a file, one a line."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n") if file else []
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"expected ids of documents, one a line, in {file}, found none ({error}): check --delete"
        ) from None
    return [id for line in lines if (id := line.rstrip("\r")).strip()]


def _how(a: argparse.Namespace) -> ReadOptions:
    return {
        "columns": _columns(a.columns),
        "header": _names(a.header),
        "delimiter": a.delimiter,
        "on_bad": a.on_bad,
        "filter": filter_of(a.filter),
        "revision": a.revision,
    }


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _shown(result: IngestResult | UpdateResult) -> dict[str, Any]:
    kept_in = str(result.kept_in) if result.kept_in else None
    return {**result._asdict(), "path": str(result.path), "left_out": dict(result.left_out), "kept_in": kept_in}


def _columns(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if any(not column for _, _, column in pairs):
        raise UsageError(
            f"expected --columns FIELD=COLUMN,..., found {text!r}: for example question=query,golden_answers=answer"
        )
    return {field.strip(): column.strip() for field, _, column in pairs}

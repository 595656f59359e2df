"""The verbs of the command line: their flags, and the one call on the workspace that each comes to."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbrag.errors import UsageError, WbragError

if TYPE_CHECKING:
    from wbrag.workspace import Workspace

FORMATS = tuple("flashrag beir squad hotpotqa fever boolq nq kilt jsonl csv tsv parquet hf".split())
Work = Callable[[argparse.Namespace, "Workspace"], Any]
Verb = Callable[..., argparse.ArgumentParser]  # name, work, help, example, and the subparsers that it is one of
FOOTER = "Any setting is a flag too, such as --enrich.tau_s 0.2; `wbrag settings` lists them."


def parser() -> argparse.ArgumentParser:
    """The whole command line; the namespace's `verb` is the work of the chosen one."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--workspace", metavar="DIR", help="the folder that holds everything (default ./workspace)")
    common.add_argument("--config", metavar="FILE", help="YAML settings")
    common.add_argument("--json", action="store_true", help="one JSON document on stdout")
    whole = argparse.ArgumentParser("wbrag", description="Train the knowledge base of a RAG system.", epilog=FOOTER)
    verbs = whole.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, work: Work, help: str, example: str, parent: Any = verbs) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = parent.add_parser(
            name,
            parents=[common],
            help=help,
            description=help,
            epilog=f"example: {example}\n{FOOTER}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        made.set_defaults(verb=work)
        return made

    demo = verb("demo", _demo, "build the demo world, train its knowledge base, measure, write a page", "wbrag demo")
    demo.add_argument("--page", metavar="FILE", help="where the HTML page goes (default WORKSPACE/reports/demo.html)")
    demo.add_argument("--limit", type=int, metavar="N", help="only N questions of each set, for a quick look")
    _data_verbs(verb, verbs)
    _training_verbs(verb)
    _bench_verbs(verb)
    _asking_verbs(verb)
    _shelf_verbs(verb, verbs)
    verb("settings", _settings, "every setting with its default", "wbrag settings")
    return whole


def _data_verbs(verb: Verb, verbs: Any) -> None:
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
        sub.add_argument("path", help="file, folder, or Hugging Face name")
        sub.add_argument("--format", choices=FORMATS, default="flashrag")
        sub.add_argument("--columns", metavar="FIELD=COLUMN,...", default="", help="for jsonl, csv, parquet and hf")
    cut = "cut longer documents into about so many words; 0: never"
    corpus.add_argument("--chunk-words", type=int, default=100, help=cut)
    corpus.add_argument("--source", help="name of the source, kept with every passage")
    examples.add_argument("--name", required=True)
    examples.add_argument("--split", required=True)
    examples.add_argument("--task", default="qa", help="nq boolq fever zsre hotpotqa squad qa")
    examples.add_argument("--unlabelled", action="store_true", help="questions alone, for enrich.gate_metric judge")
    verb("index", lambda a, w: w.index(), "embed and index the corpus", "wbrag index --index.shards 4")


def _training_verbs(verb: Verb) -> None:
    helped = "find where retrieval helped, and distil it into units"
    enrich = verb("enrich", _enrich, helped, "wbrag enrich --examples nq/train --limit 300")
    publish = verb("publish", _publish, "make a release of the units on the shelf", "wbrag publish --note 'first try'")
    publish.add_argument("--note", default="")
    evaluate = verb(
        "evaluate",
        _evaluate,
        "accuracy on held-out questions, with and without a release",
        "wbrag evaluate --examples nq/dev --release latest --against none",
    )
    for sub in (enrich, evaluate):
        sub.add_argument("--examples", metavar="NAME/SPLIT", help="default: the setting job.examples")
        sub.add_argument("--method", help="default: the setting job.method")
        sub.add_argument("--limit", type=int, metavar="N", help="only N of them, always the same")
    evaluate.add_argument("--release", help="latest (default), none (base corpus alone), closed-book, or an id")
    evaluate.add_argument("--against", help="another such name to compare with, question by question")
    evaluate.add_argument("--trec", metavar="FILE", help="write what was retrieved as a TREC run file")


def _bench_verbs(verb: Verb) -> None:
    grid = "a suite's whole grid: methods x sets x models x libraries"
    bench = verb("bench", _bench, grid, "wbrag bench --suite suites/demo.yaml --markdown")
    bench.add_argument("--suite", metavar="FILE", required=True)
    bench.add_argument("--data", metavar="DIR", help="where the suite's relative paths begin")
    bench.add_argument("--markdown", action="store_true", help="GitHub tables on stdout")
    bench.add_argument("--csv", action="store_true", help="every score and comparison on stdout, one a line")
    report = verb("report", _report, "one page about a suite or an enrichment run", "wbrag report --suite demo")
    about = report.add_mutually_exclusive_group(required=True)
    about.add_argument("--suite", metavar="NAME", help="the name in the suite's file; its page is drawn again")
    about.add_argument("--run", metavar="FINGERPRINT", help="as `wbrag enrich` names it")


def _asking_verbs(verb: Verb) -> None:
    question = "'Who designed the Corvane gauge?'"
    search = verb("search", _search, "the passages and units nearest to a question", f"wbrag search {question}")
    ask = verb("ask", _ask, "answer one question", f"wbrag ask {question}")
    for sub in (search, ask):
        sub.add_argument("question")
        sub.add_argument("--release", help="latest (default where there is one), none, or an id")
    search.add_argument("-k", type=int, default=5)
    ask.add_argument("--task", default="qa")


def _shelf_verbs(verb: Verb, verbs: Any) -> None:
    units = verbs.add_parser("units", help="look at the shelf").add_subparsers(metavar="WHAT", required=True)
    listed = verb("list", _units_list, "every unit, a line each", "wbrag units list", units)
    listed.add_argument("--limit", type=int, metavar="N")
    shown = verb("show", _units_show, "one unit with its provenance", "wbrag units show wb-0123456789abcdef", units)
    shown.add_argument("id")
    releases = verbs.add_parser("releases", help="list, show, roll back").add_subparsers(metavar="WHAT", required=True)
    verb("list", _releases_list, "every release, oldest first", "wbrag releases list", releases)
    for name, work, help in (
        ("show", _releases_show, "one release"),
        ("rollback", _releases_rollback, "answer as an earlier release did"),
    ):
        verb(name, work, help, f"wbrag releases {name} r0001", releases).add_argument("id")


def _demo(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.demo.run import run_demo

    result = run_demo(w, page=a.page, limit=a.limit)
    if a.json:
        return result
    from wbrag.demo.story import tables

    return tables(result)


def _ingest_corpus(a: argparse.Namespace, w: Workspace) -> Any:
    result = w.ingest_corpus(a.path, a.format, columns=_columns(a.columns), chunk_words=a.chunk_words, source=a.source)
    return {**result._asdict(), "path": str(result.path)}


def _ingest_examples(a: argparse.Namespace, w: Workspace) -> Any:
    columns = _columns(a.columns)
    result = w.ingest_examples(a.path, a.name, a.split, a.format, a.task, columns=columns, unlabelled=a.unlabelled)
    return {**result._asdict(), "path": str(result.path)}


def _columns(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if any(not column for _, _, column in pairs):
        raise UsageError(
            f"expected --columns FIELD=COLUMN,..., found {text!r}: for example question=query,golden_answers=answer"
        )
    return {field.strip(): column.strip() for field, _, column in pairs}


def _work(a: argparse.Namespace, w: Workspace) -> tuple[str, dict[str, Any]]:
    """The examples and the options, from the command line or else from the settings' `job` section."""
    job = w.config.job
    examples = a.examples or job.examples
    if examples is None:
        raise UsageError("expected --examples NAME/SPLIT or the setting job.examples, found neither: name the examples")
    return examples, {"method": a.method or job.method, "limit": job.limit if a.limit is None else a.limit}


def _enrich(a: argparse.Namespace, w: Workspace) -> Any:
    examples, options = _work(a, w)
    return w.enrich(examples, **options)


def _evaluate(a: argparse.Namespace, w: Workspace) -> Any:
    examples, options = _work(a, w)
    release = a.release or w.config.job.release
    result = w.evaluate(examples, release=release, against=a.against or w.config.job.against, **options)
    if a.trec:
        from wbrag.datasets.trec import run_of, write_run

        write_run(Path(a.trec), run_of(w.answers(examples, release=release, **options)), tag=release)
    return result


def _bench(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.bench.tables import as_csv, markdown, tables

    bench = w.bench(a.suite, a.data)
    if a.json:
        return _plain(bench)
    return as_csv(bench) if a.csv else markdown(bench) if a.markdown else tables(bench)


def _report(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.bench.page import of_run, read_bench, write_report

    folder = w.path / "reports" / ("suites" if a.suite else "runs")
    bench = read_bench(folder / f"{a.suite}.json") if a.suite else of_run(w.path / "verdicts" / a.run)
    return {"page": str(write_report(bench, folder))}


def _publish(a: argparse.Namespace, w: Workspace) -> Any:
    return _plain(w.publish(a.note))


def _search(a: argparse.Namespace, w: Workspace) -> Any:
    return [_plain(hit) for hit in w.search(a.question, a.k, release=a.release)]


def _ask(a: argparse.Namespace, w: Workspace) -> Any:
    answer = w.ask(a.question, task=a.task, release=a.release)
    return {"question": a.question, "answer": answer.text, "hits": [_plain(hit) for hit in answer.hits]}


def _units_list(a: argparse.Namespace, w: Workspace) -> Any:
    return [
        {"id": s.unit.id, "title": s.unit.title, "text": s.unit.text, "questions": len(s.unit.question_ids)}
        for s in w.shelf.read()[: a.limit]
    ]


def _units_show(a: argparse.Namespace, w: Workspace) -> Any:
    for shelved in w.shelf.read():
        if shelved.unit.id == a.id:
            return {"id": a.id, **_plain(shelved.unit)}
    raise WbragError(f"expected the id of a unit, found {a.id!r}: `wbrag units list` shows them")


def _releases_list(a: argparse.Namespace, w: Workspace) -> Any:
    return [_plain(release) for release in w.releases.all()]


def _releases_show(a: argparse.Namespace, w: Workspace) -> Any:
    return _plain(w.releases.get(a.id))


def _releases_rollback(a: argparse.Namespace, w: Workspace) -> Any:
    return _plain(w.releases.rollback(a.id))


def _settings(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.config import flags

    return flags()


def _plain(record: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(record)

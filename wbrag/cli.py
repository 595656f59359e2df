"""The command line: `wbrag VERB ...`. Results go to stdout (one JSON document with --json), bars and logs to stderr.

Nothing heavy is imported until a verb runs, so that `wbrag --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbrag.errors import UsageError, WbragError

if TYPE_CHECKING:
    from wbrag.workspace import Workspace

FORMATS = (
    "flashrag",
    "beir",
    "squad",
    "hotpotqa",
    "fever",
    "boolq",
    "nq",
    "kilt",
    "jsonl",
    "csv",
    "tsv",
    "parquet",
    "hf",
)
Verb = Callable[[argparse.Namespace, "Workspace"], Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 1 the job failed or was interrupted, 2 wrong usage)."""
    try:
        rest, overrides = _overrides(sys.argv[1:] if argv is None else argv)
        return _run(_parser().parse_args(rest), overrides)
    except UsageError as error:
        print(f"wbrag: {error}", file=sys.stderr)
        return 2
    except WbragError as error:
        print(f"wbrag: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("wbrag: interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(
            f"wbrag: expected to read and write files, found: {error}; free the disk or check the path", file=sys.stderr
        )
        return 1


def _run(arguments: argparse.Namespace, overrides: dict[str, Any]) -> int:
    from wbrag.config import load
    from wbrag.workspace import Workspace

    if arguments.workspace is not None:
        overrides["workspace"] = arguments.workspace
    config = load(arguments.config, **overrides)
    with _nothing_else_on_stdout(), Workspace(config=config, progress=True) as workspace:
        result = arguments.verb(arguments, workspace)
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        from wbrag.terminal import show

        show(result)
    return 0


@contextmanager
def _nothing_else_on_stdout() -> Iterator[None]:
    """What libraries print goes to stderr, also from below Python (Ray's warnings): stdout is for the result alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


SETTING = re.compile(r"--([a-z_]+(?:\.[a-z_]+)+|seed|prompts_dir)(=.*)?", re.DOTALL)


def _overrides(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """`--section.name value` flags as the nested mapping that the settings take, and the rest of the line."""
    rest: list[str] = []
    tree: dict[str, Any] = {}
    tokens = iter(argv)
    for token in tokens:
        match = SETTING.fullmatch(token)
        if match is None:
            rest.append(token)
            continue
        value = match[2][1:] if match[2] else next(tokens, None)
        if value is None:
            raise UsageError(f"expected a value after {token}, found the end of the line: write {token} VALUE")
        *sections, name = match[1].split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = _value(value)
    return rest, tree


def _value(text: str) -> Any:
    """A flag's value, read as YAML: `0.2`, `true`, `[1, 2]`, else the text itself."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--workspace", metavar="DIR", help="the folder that holds everything (default ./workspace)")
    common.add_argument("--config", metavar="FILE", help="YAML settings")
    common.add_argument("--json", action="store_true", help="one JSON document on stdout")
    footer = "Any setting is a flag too, such as --enrich.tau_s 0.2; `wbrag settings` lists them."
    parser = argparse.ArgumentParser(
        prog="wbrag", description="Train the knowledge base of a RAG system.", epilog=footer
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Verb, help: str, example: str, parent: Any = verbs) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = parent.add_parser(
            name,
            parents=[common],
            help=help,
            description=help,
            epilog=f"example: {example}\n{footer}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        made.set_defaults(verb=run)
        return made

    demo = verb("demo", _demo, "build the demo world, train its knowledge base, measure, write a page", "wbrag demo")
    demo.add_argument("--page", metavar="FILE", help="where the HTML page goes (default WORKSPACE/reports/demo.html)")
    demo.add_argument("--limit", type=int, metavar="N", help="only N questions of each set, for a quick look")

    ingest = verbs.add_parser("ingest", help="read a corpus or labelled examples").add_subparsers(
        metavar="WHAT", required=True
    )
    for name, run in (("corpus", _ingest_corpus), ("examples", _ingest_examples)):
        example = f"wbrag ingest {name} data.jsonl.gz --format flashrag" + (
            " --name nq --split train --task nq" if name == "examples" else ""
        )
        sub = verb(
            name, run, f"read {'a' if name == 'corpus' else 'labelled'} {name} into the workspace", example, ingest
        )
        sub.add_argument("path", help="file, folder, or Hugging Face name")
        sub.add_argument("--format", choices=FORMATS, default="flashrag")
        sub.add_argument("--columns", metavar="FIELD=COLUMN,...", default="", help="for jsonl, csv, parquet and hf")
        if name == "corpus":
            sub.add_argument(
                "--chunk-words", type=int, default=100, help="cut longer documents into about so many words; 0: never"
            )
            sub.add_argument("--source", help="name of the source, kept with every passage")
        else:
            sub.add_argument("--name", required=True)
            sub.add_argument("--split", required=True)
            sub.add_argument("--task", default="qa", help="nq boolq fever zsre hotpotqa squad qa")

    verb("index", lambda a, w: w.index(), "embed and index the corpus", "wbrag index --index.shards 4")
    enrich = verb(
        "enrich",
        _enrich,
        "find where retrieval helped, and distil it into units",
        "wbrag enrich --examples nq/train --limit 300",
    )
    evaluate = verb(
        "evaluate",
        _evaluate,
        "accuracy on held-out questions, with and without a release",
        "wbrag evaluate --examples nq/dev --release latest --against none",
    )
    for sub in (enrich, evaluate):
        sub.add_argument("--examples", metavar="NAME/SPLIT", help="default: the setting job.examples")
        sub.add_argument("--method", help="default: the setting job.method")
        sub.add_argument("--limit", type=int, metavar="N", help="only the first N")
    evaluate.add_argument("--release", help="latest (default), none (base corpus alone), closed-book, or an id")
    evaluate.add_argument("--trec", metavar="FILE", help="write what was retrieved as a TREC run file")
    evaluate.add_argument("--against", help="another such name to compare with, question by question")
    bench = verb(
        "bench",
        _bench,
        "a suite's whole grid: methods x sets x models x libraries",
        "wbrag bench --suite suites/demo.yaml --markdown",
    )
    bench.add_argument("--suite", metavar="FILE", required=True)
    bench.add_argument("--data", metavar="DIR", help="where the suite's relative paths begin")
    bench.add_argument("--markdown", action="store_true", help="GitHub tables on stdout")
    bench.add_argument("--csv", action="store_true", help="every score and comparison on stdout, one a line")
    verb(
        "report",
        _report,
        "draw a suite's page again from its figures",
        "wbrag report --suite demo",
    ).add_argument("--suite", metavar="NAME", required=True, help="the name in the suite's file")
    publish = verb("publish", _publish, "make a release of the units on the shelf", "wbrag publish --note 'first try'")
    publish.add_argument("--note", default="")
    search = verb(
        "search",
        _search,
        "the passages and units nearest to a question",
        "wbrag search 'Who designed the Corvane gauge?'",
    )
    ask = verb("ask", _ask, "answer one question", "wbrag ask 'Who designed the Corvane gauge?'")
    for sub in (search, ask):
        sub.add_argument("question")
        sub.add_argument("--release", help="latest (default where there is one), none, or an id")
    search.add_argument("-k", type=int, default=5)
    ask.add_argument("--task", default="qa")

    units = verbs.add_parser("units", help="look at the shelf").add_subparsers(metavar="WHAT", required=True)
    verb("list", _units_list, "every unit, a line each", "wbrag units list", units).add_argument(
        "--limit", type=int, metavar="N"
    )
    verb(
        "show", _units_show, "one unit with its provenance", "wbrag units show wb-0123456789abcdef", units
    ).add_argument("id")
    releases = verbs.add_parser("releases", help="list, show, roll back").add_subparsers(metavar="WHAT", required=True)
    verb(
        "list",
        lambda a, w: [_plain(r) for r in w.releases.all()],
        "every release, oldest first",
        "wbrag releases list",
        releases,
    )
    verb(
        "show", lambda a, w: _plain(w.releases.get(a.id)), "one release", "wbrag releases show r0001", releases
    ).add_argument("id")
    verb(
        "rollback",
        lambda a, w: _plain(w.releases.rollback(a.id)),
        "answer as an earlier release did",
        "wbrag releases rollback r0001",
        releases,
    ).add_argument("id")
    verb("settings", _settings, "every setting with its default", "wbrag settings")
    return parser


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
    result = w.ingest_examples(a.path, a.name, a.split, a.format, a.task, columns=_columns(a.columns))
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
    from wbrag.bench.page import read_bench, write_report

    return {"page": str(write_report(read_bench(w.path / "reports" / f"{a.suite}.json"), w.path / "reports"))}


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


def _settings(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.config import flags

    return flags()


def _plain(record: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(record)


if __name__ == "__main__":
    sys.exit(main())

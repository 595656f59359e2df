"""Training commands: `enrich`, `train retriever`, `publish`, `evaluate`.

A flag wins over the settings' `job` section.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, current_user, plain, work_of
from wbrag.core.io.files import location

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    helped = "find where retrieval helped, and distil it into units"
    enrich = verb("enrich", _enrich, helped, "wbrag enrich --examples nq/train --limit 300")
    released = "make a release of the approved units, after checks and canary"
    publish = verb("publish", _publish, released, "wbrag publish --note 'first try'")
    publish.add_argument("--note", default="")
    publish.add_argument("--by", metavar="NAME", help="who publishes (default: the user of this machine)")
    publish.add_argument("--policy", choices=("auto", "manual"), help="default: the setting checks.policy")
    evaluate = verb(
        "evaluate",
        _evaluate,
        "accuracy on held-out questions, with and without a release",
        "wbrag evaluate --examples nq/dev --release latest --against none",
    )
    publish.add_argument("--retriever", default="latest", help="latest (default: that did better), none, or a name")
    parts = verbs.add_parser("train", help="what learns from recorded usefulness").add_subparsers(
        metavar="WHAT", required=True
    )
    taught = "a retriever learns which documents helped; publish puts it into a release"
    trained = verb("retriever", _retriever, taught, "wbrag train retriever --examples nq/train", parts)
    trained.add_argument(
        "--kind",
        choices=["adapter", "reranker", "encoder"],
        default="adapter",
        help="adapter: of questions' vectors; reranker: a second look at the best; encoder: a new index",
    )
    trained.add_argument("--out", metavar="FILE", help="the page (default: reports/retriever-NAME.html)")
    trained.set_defaults(method=None)
    read = "the language model learns to read documents and to distil them: a LoRA adapter"
    reader = verb("reader", _reader, read, "wbrag train reader --examples nq/train --apart nq/dev", parts)
    names: dict[str, Any] = {"nargs": "+", "metavar": "NAME/SPLIT", "default": []}
    reader.add_argument("--examples", required=True, **names, help="questions that name their gold passages")
    reader.add_argument("--apart", **names, help="questions and gold passages that must stay unseen")
    reader.add_argument("--measured", **names, help="what quality is measured on, unseen (default: a fifth)")
    for sub in (enrich, evaluate, trained):
        sub.add_argument("--examples", metavar="NAME/SPLIT", help="default: the setting job.examples")
        if sub is not trained:
            sub.add_argument("--method", help="default: the setting job.method")
        sub.add_argument("--limit", type=int, metavar="N", help="only N of them, always the same")
    evaluate.add_argument("--release", help="latest (default), none (base corpus alone), closed-book, or an id")
    evaluate.add_argument("--against", help="another such name to compare with, question by question")
    evaluate.add_argument("--trec", metavar="FILE", help="write what was retrieved as a TREC run file")


def _enrich(a: argparse.Namespace, w: Workspace) -> Any:
    examples, options = work_of(a, w)
    return w.enrich(examples, **options)


def _evaluate(a: argparse.Namespace, w: Workspace) -> Any:
    examples, options = work_of(a, w)
    release = a.release or w.config.job.release
    result = w.evaluate(examples, release=release, against=a.against or w.config.job.against, **options)
    if a.trec:
        from wbrag.data.trec import run_of, write_run

        write_run(location(a.trec), run_of(w.answers(examples, release=release, **options)), tag=release)
    return result


def _publish(a: argparse.Namespace, w: Workspace) -> Any:
    return plain(w.publish(a.note, by=a.by or current_user(), policy=a.policy, retriever=a.retriever))


def _reader(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.evaluation.report.reader_tables import tables
    from wbrag.executor.reader import record

    found = w.train_reader(a.examples, apart=a.apart, measured=a.measured)
    return record(found) if a.json else tables(found)


def _retriever(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.evaluation.report.retriever_page import tables, to_json, write_training

    examples, options = work_of(a, w)
    found = w.train_retriever(examples, kind=a.kind, limit=options["limit"])
    page = location(a.out) if a.out else w.path / "reports" / f"retriever-{found.retriever.name}.html"
    write_training(found, page)
    return to_json(found, str(page)) if a.json else tables(found, str(page))

"""Planning command: `plan`, what a job will cost before it runs.

It starts no model and writes nothing.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb
from wbrag.core.errors import UsageError

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    helped = "calls, tokens, hours, bytes and cost of a job, before it runs"
    line = "wbrag plan --examples 79168 --corpus 21000000 --model Llama-3.1-8B --gpus 2 --dimension 768"
    sub = verb("plan", _plan, helped, line)
    sub.add_argument("--examples", type=int, required=True, metavar="N", help="labelled questions to enrich")
    sub.add_argument("--corpus", type=int, required=True, metavar="M", help="passages of the corpus")
    sub.add_argument("--model", default="", metavar="NAME", help="its name says its size, such as Llama-3.1-8B")
    sub.add_argument("--gpus", type=int, default=1, metavar="G")
    sub.add_argument("--device", default="h200", help="a device of known speed (default h200)")
    sub.add_argument("--nodes", type=int, default=1, help="machines that share the index's shards")
    sub.add_argument("--workload", default="nq", help="nq, hotpotqa or boolq: whose shares to expect (default nq)")
    sub.add_argument("--trial", metavar="FINGERPRINT", help="take the shares from this finished run of the workspace")
    sub.add_argument("--closed-book", type=float, metavar="SHARE", help="answered right without documents")
    sub.add_argument("--accepted", type=float, metavar="SHARE", help="of all examples, those that are distilled")
    sub.add_argument("--passage-words", type=float, metavar="W", help="of the mean passage, with its title")
    sub.add_argument("--tokens-per-word", type=float, metavar="T")
    sub.add_argument("--dimension", type=int, metavar="D", help="of the encoder's vectors")
    sub.add_argument("--calls-per-second", type=float, metavar="C", help="of one GPU, measured by you")
    sub.add_argument("--passages-per-second", type=float, metavar="P", help="embedded by one GPU, measured by you")
    sub.add_argument("--price-per-gpu-hour", type=float, metavar="PRICE")


def _plan(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.evaluation.estimate import PlanRequest, plan

    request = PlanRequest(
        examples=a.examples,
        passages=a.corpus,
        model=a.model,
        gpus=a.gpus,
        device=a.device,
        workload=a.workload,
        nodes=a.nodes,
        calls_per_second=a.calls_per_second,
        passages_per_second=a.passages_per_second,
        price=a.price_per_gpu_hour,
        dimension=a.dimension,
        closed_book=a.closed_book,
        accepted=a.accepted,
        passage_words=a.passage_words,
        tokens_per_word=a.tokens_per_word,
        trial=_verdicts(w, a.trial) if a.trial else (),
    )
    return plan(request, w.config)


def _verdicts(w: Workspace, fingerprint: str) -> list[dict[str, Any]]:
    from wbrag.enrich.row_files import read_rows

    rows = [row for row in read_rows(w.path / "verdicts" / fingerprint, "enrich").values() if not row["error"]]
    if not rows:
        raise UsageError(
            f"expected the fingerprint of an enrichment run, found no verdicts of {fingerprint!r}: check it"
        )
    return rows

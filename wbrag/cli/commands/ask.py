"""Query commands: `search`, `ask`.

They run in this process, without Ray.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, filter_of, plain

if TYPE_CHECKING:
    from wbrag.core.types import Hit
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    question = "'Who put the Ilgan rule on paper?'"
    search = verb("search", _search, "the passages and units nearest to a question", f"wbrag search {question}")
    ask = verb("ask", _ask, "answer one question", f"wbrag ask {question}")
    for sub in (search, ask):
        sub.add_argument("question")
        sub.add_argument("--release", help="latest (default where there is one), none, or an id")
        sub.add_argument("--filter", metavar="JSON", help='of metadata, as {"lang": "de", "year": {"gte": 2019}}')
    search.add_argument("-k", type=int, default=5)
    ask.add_argument("--task", default="qa")


def _search(a: argparse.Namespace, w: Workspace) -> Any:
    return [_hit(hit) for hit in w.search(a.question, a.k, release=a.release, filter=filter_of(a.filter))]


def _ask(a: argparse.Namespace, w: Workspace) -> Any:
    answer = w.ask(a.question, task=a.task, release=a.release, filter=filter_of(a.filter))
    return {"question": a.question, "answer": answer.text, "hits": [_hit(hit) for hit in answer.hits]}


def _hit(hit: Hit) -> dict[str, Any]:
    found = plain(hit)
    del found["ways"]
    if not hit.metadata:
        del found["metadata"]
    return found | hit.how_found()

"""API key commands: `keys add`, `keys list`, `keys remove`.

A key is shown once, by `add`; what is kept cannot show it again.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


log = logging.getLogger(__name__)


def add(verb: Verb, verbs: Any) -> None:
    keys = verbs.add_parser("keys", help="who may use the endpoint").add_subparsers(metavar="WHAT", required=True)
    example = "wbrag keys add --name ada --role reviewer"
    added = verb("add", _add, "a new key, which is shown once and never again", example, keys)
    added.add_argument("--name", required=True, help="whose it is, as logs and decisions will say")
    added.add_argument("--role", required=True, help="reader (asks), reviewer (decides on units), admin (publishes)")
    groups = "whose documents its holder may see beside those for everybody; '*' for all, as an admin's key has"
    added.add_argument("--groups", metavar="NAME,...", default="", help=groups)
    verb("list", _list, "every key's name, role and groups", "wbrag keys list", keys)
    removed = verb("remove", _remove, "a key stops working at once", "wbrag keys remove ada", keys)
    removed.add_argument("name")


def _add(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.core.io.parquet import corpus_files
    from wbrag.retrieval.external import is_external
    from wbrag.serving.keys import Keys

    groups = [name.strip() for name in a.groups.split(",") if name.strip()]
    key = Keys(w.path).add(a.name, a.role, groups)
    if not is_external(w.config) and not corpus_files(w.path / "corpus"):
        log.warning("%s has no corpus yet: a key opens the endpoint of its own --workspace alone", w.path)
    return {"name": a.name, "role": a.role, "groups": ",".join(groups), "key": key}


def _list(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.serving.keys import Keys

    return [
        {"name": key.name, "role": key.role, "groups": ",".join(key.groups), "created_at": key.created_at}
        for key in Keys(w.path).all()
    ]


def _remove(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.serving.keys import Keys

    Keys(w.path).remove(a.name)
    return {"removed": a.name}

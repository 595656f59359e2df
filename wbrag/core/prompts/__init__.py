"""Prompt templates: text files, a line `---` between the system and the user part, `{names}` filled in.

A file in the folder that the setting `prompts_dir` names replaces wbrag's own of that name; values are never parsed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

from wbrag.core.defuse import apart
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.types import Message

# The templates that prompt versions of wbrag 0.1 hold. Nothing is ever added here.
RECORDED = (
    "boolq.closed boolq.rag evidence fever.closed fever.rag flare.question hotpotqa.closed hotpotqa.rag judge "
    "nq.closed nq.rag planner.plan qa.closed qa.rag rewrite selfrag.need selfrag.relevant selfrag.supported "
    "selfrag.useful squad.closed squad.rag zsre.closed zsre.rag"
).split()


@cache
def load(name: str, folder: str | None = None) -> str:
    """The template called `name`, the user's own where `folder` has one."""
    if folder and not Path(folder).is_dir():  # also on a node that does not see it
        raise UsageError(f"expected a folder at prompts_dir, found none at {folder}: name one that every node sees")
    own = Path(folder) / f"{name}.txt" if folder else None
    if own is not None and own.is_file():
        return own.read_text(encoding="utf-8").rstrip("\n")
    built_in = files("wbrag.core.prompts").joinpath(f"{name}.txt")
    if not built_in.is_file():
        raise UsageError(
            f"expected a prompt file {name}.txt in wbrag/core/prompts or in prompts_dir, found none: add it"
        )
    return built_in.read_text(encoding="utf-8").rstrip("\n")


def render(name: str, folder: str | None = None, /, **values: str) -> list[Message]:
    """Fill template `name` in one pass, so that braces inside a value stay what they are.

    Values are data, a question as well as a document: control tokens in them are taken apart.
    """
    template = load(name, folder)

    def fill(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise WbragError(
                f"prompt {name}.txt uses {{{match[1]}}}, expected one of {', '.join(sorted(values))}: rename it"
            )
        return apart(values[match[1]])

    system, separator, user = template.partition("\n---\n")
    parts = [("system", system), ("user", user)] if separator else [("user", system)]
    return [Message(role, re.sub(r"\{(\w+)\}", fill, text)) for role, text in parts]  # type: ignore[arg-type]


def names() -> list[str]:
    """Every template that ships with wbrag."""
    found = (file.name for file in files("wbrag.core.prompts").iterdir())
    return sorted(name.removesuffix(".txt") for name in found if name.endswith(".txt"))


def version(used: Iterable[str] = (), folder: str | None = None) -> str:
    """A short hash over the templates: the prompt version that every result records.

    Of templates that came after `RECORDED`, only those that are `used` count: a new one leaves recorded versions equal.
    """
    return digest({*RECORDED, *used}, folder)


def digest(used: Iterable[str], folder: str | None = None) -> str:
    """A short hash over these templates and no others: what decides the replies that they ask for."""
    found = hashlib.sha256()
    for name in sorted(used):
        found.update(f"{name}\n{load(name, folder)}\n".encode())
    return found.hexdigest()[:12]


@cache
def of(owner: str) -> tuple[str, ...]:
    """The templates of a method or a task: `flare.question` is one of `flare`; `qa/unicode` has those of `qa`."""
    return tuple(name for name in names() if name.partition(".")[0] == owner.partition("/")[0])

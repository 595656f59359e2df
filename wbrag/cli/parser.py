"""Argument parser: the verbs, their flags, and the one call on the workspace that each comes to.

Nothing heavy is imported here: a verb imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
from typing import Any

from wbrag.cli.commands import ask, bench, data, diagnose, doctor, govern, keys, models, plan, push, serve, train, units
from wbrag.cli.commands.common import Work

FOOTER = "Any setting is a flag too, such as --enrich.tau_s 0.2; `wbrag settings` lists them."


def parser() -> argparse.ArgumentParser:
    """The whole command line; the namespace's `verb` is the work of the chosen one."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--workspace", metavar="DIR", help="the folder that holds everything (default ./workspace)")
    common.add_argument("--config", metavar="FILE", help="YAML settings")
    common.add_argument("--json", action="store_true", help="one JSON document on stdout")
    whole = argparse.ArgumentParser("wbrag", description="Train the knowledge base of a RAG system.", epilog=FOOTER)
    verbs = whole.add_subparsers(metavar="VERB", required=True)

    def verb(
        name: str, work: Work | None, help: str, example: str, parent: Any = verbs, *, settings_only: bool = False
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = parent.add_parser(
            name,
            parents=[common],
            help=help,
            description=help,
            epilog=f"example: {example}\n{FOOTER}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        called = made.prog.removeprefix("wbrag ")
        made.set_defaults(verb=work, called=called, settings_only=settings_only, own_stdout=False, code=0)
        return made

    for module in (data, diagnose, train, bench, plan, ask, units, govern, push, serve, keys, models, doctor):
        module.add(verb, verbs)
    several = verb("run", None, "several commands, one a line, whose models start once", "wbrag run night.txt")
    several.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: what is typed, line by line")
    verb("settings", _settings, "every setting with its default", "wbrag settings", settings_only=True)
    return whole


def _settings(a: argparse.Namespace, config: Any) -> Any:
    from wbrag.core.config import flags

    return flags()

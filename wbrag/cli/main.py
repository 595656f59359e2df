"""Command line: `wbrag VERB ...`, from arguments to exit code.

Results go to stdout (one JSON document with --json), bars and logs to stderr. Nothing heavy is imported until a verb
runs, so that `wbrag --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

from wbrag.cli.parser import parser
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.plain import escaped, plain


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 1 it failed or was interrupted, 2 wrong usage)."""
    if logging.lastResort is not None:  # warnings quote data as well
        logging.lastResort.setFormatter(_Plain())
    try:
        rest, overrides = _overrides(sys.argv[1:] if argv is None else argv)
        return _run(parser().parse_args(rest), overrides)
    except UsageError as error:
        _say(str(error))
        return 2
    except WbragError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        return 0
    except OSError as error:
        _say(f"expected to read and write files, found: {error}; free the disk or check the path")
        return 1


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def _interrupted() -> int:
    _say("interrupted; what was finished is kept, the same command goes on from there")
    return 1


def _say(sentence: str) -> None:
    """On stderr; it may quote data."""
    print(f"wbrag: {plain(sentence)}", file=sys.stderr)


def _run(arguments: argparse.Namespace, overrides: dict[str, Any]) -> int:
    from wbrag.core.config import load

    if arguments.workspace is not None:
        overrides["workspace"] = arguments.workspace
    config = load(arguments.config, **overrides)
    code, workspace = 0, None
    try:
        for line, step in _steps(arguments):
            step.json = arguments.json
            if workspace is None and not step.settings_only:
                from wbrag.workspace import Workspace

                workspace = Workspace(config=config, progress=True)
            try:
                with nullcontext() if step.own_stdout else _nothing_else_on_stdout():
                    result = step.verb(step, config if step.settings_only else workspace)
                    if os.environ.get("MLFLOW_TRACKING_URI"):
                        from wbrag.cli.mlflow import report

                        report(step.called, result, config)
            except WbragError as error:
                raise type(error)(f"{line}{error}") from None
            if not step.own_stdout:
                _tell(result, arguments.json)
            code = max(code, step.code)
    except KeyboardInterrupt:  # said at once: models take a while to stop, and Ray may end this process meanwhile
        code = _interrupted()
    finally:
        if workspace is not None:
            with _nothing_else_on_stdout():
                workspace.close()
    return code


def _steps(arguments: argparse.Namespace) -> Iterator[tuple[str, argparse.Namespace]]:
    """The one verb, or the lines of `wbrag run FILE`: read first and whole, or from stdin one by one."""
    if arguments.verb is not None:
        yield "", arguments
    elif arguments.file == "-":
        yield from _lines(sys.stdin, "line")
    else:
        with open(arguments.file, encoding="utf-8") as file:
            steps = list(_lines(file, arguments.file))
        yield from steps


def _lines(lines: Iterable[str], name: str) -> Iterator[tuple[str, argparse.Namespace]]:
    """Each line's place, to begin a message with, and its verb. What decides the models is the same for all."""
    for number, line in enumerate(lines, 1):
        place = f"{name} {number}: "
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(f"{place}expected words and closed quotes, found {line.strip()!r} ({error})") from None
        if words:
            rest, overrides = _overrides(words)
            step = parser().parse_args(rest)
            if overrides or step.workspace or step.config or step.verb is None:
                raise UsageError(
                    f"{place}expected a verb with its own flags, found {line.strip()!r}: settings, --workspace and "
                    "--config hold for every line and go after `wbrag run`"
                )
            yield place, step


def _tell(result: Any, as_json: bool) -> None:
    if as_json:
        print(escaped(json.dumps(result, ensure_ascii=False)), flush=True)
    else:
        from wbrag.cli.render import show

        show(result)


@contextmanager
def _nothing_else_on_stdout() -> Iterator[None]:
    """What libraries print goes to stderr, also from below Python (Ray's warnings): stdout is for the result alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


SETTING = re.compile(r"--([a-z_]+(?:\.[a-z_]+)+|seed|prompts_dir)(=.*)?", re.DOTALL)


def _overrides(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """`--section.name value` flags as the nested mapping that the settings take, and the rest of the line."""
    rest: list[str] = []
    tree: dict[str, Any] = {}
    tokens = iter(argv)
    for token in tokens:
        match = SETTING.fullmatch(token)
        if match is None:
            rest.append(token)
            continue
        value = match[2][1:] if match[2] else next(tokens, None)
        if value is None:
            raise UsageError(f"expected a value after {token}, found the end of the line: write {token} VALUE")
        *sections, name = match[1].split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = _value(value)
    return rest, tree


def _value(text: str) -> Any:
    """A flag's value, read as YAML: `0.2`, `true`, `[1, 2]`, else the text itself."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


if __name__ == "__main__":
    sys.exit(main())

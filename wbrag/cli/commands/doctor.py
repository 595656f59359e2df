"""The verb that examines this machine: `doctor`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from wbrag.cli.commands.common import Verb, plain

if TYPE_CHECKING:
    from wbrag.core.config import Config


def add(verb: Verb, verbs: Any) -> None:
    help = "what this machine has of what the settings need, with remedies; exit 1 where something is missing"
    verb("doctor", _doctor, help, "wbrag doctor --config my.yaml", settings_only=True)


def _doctor(a: argparse.Namespace, config: Config) -> Any:
    from wbrag.cli.doctor import examine

    findings = examine(config)
    missing = [finding.name for finding in findings if finding.missing]
    a.code = 1 if missing else 0
    if a.json:
        return [plain(finding) for finding in findings]
    title = f"missing: {', '.join(missing)}" if missing else "everything that these settings need is here"
    rows = [[_mark(f.missing, f.state), f.name, f.found, f.remedy] for f in findings]
    return [(title, ["", "", "found", "remedy"], rows)]


def _mark(missing: bool, state: str) -> str:
    return "MISSING" if missing else "ok" if state == "ok" else "-"

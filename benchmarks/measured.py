"""What every benchmark here does with its figures: shows them, keeps them in `results/` and adds them to `LOG.md`.

A figure with a target says whether it was met. `--quick` runs the same code on little, to see that it works; nothing
of it is kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from wbrag.core.io.files import write_atomically
from wbrag.evaluation.report.provenance import hardware

HERE = Path(__file__).parent
RESULTS, LOG = HERE / "results", HERE / "LOG.md"
BEGAN = psutil.cpu_times()


@dataclass(frozen=True)
class Figure:
    """One number. `target` is what it should be at least (`better="higher"`) or at most.

    One with `short`, its name in a few words, goes into the README's table.
    """

    name: str
    value: float
    unit: str = "x"
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"
    short: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target

    @property
    def wanted(self) -> str:
        if self.target is None:
            return ""
        return f"{'at least' if self.better == 'higher' else 'at most'} {number(self.target)} {self.unit}".rstrip()


def number(value: float) -> str:
    """Three digits that count, thousands in groups."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def arguments(doc: str) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small run to see that it works; nothing is kept")
    parser.add_argument("--note", default="", help="what is special about this run, for the log")
    return parser


def record(name: str, command: str, figures: Sequence[Figure], about: str, *, quick: bool, note: str = "") -> None:
    """Show `figures`; of a whole run also write `results/NAME.json` and add an entry to `LOG.md`.

    `about` says in a sentence or two what was measured on what, for somebody who reads the figures alone.
    """
    machine = f"{hardware()}{_stolen()}"
    table = Table(title=f"{name}: {about}", title_justify="left", caption=machine, caption_justify="left")
    for column in ("figure", "measured", "target", "met"):
        table.add_column(column, justify="right" if column == "measured" else "left")
    for f in figures:
        table.add_row(f.name, f"{number(f.value)} {f.unit}", f.wanted, _met(f))
    Console().print(table)
    if quick:
        return
    when, commit = datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), _commit()
    told = {"name": name, "command": command, "about": about, "when": when, "commit": commit, "hardware": hardware()}
    text = json.dumps({**told, "note": note, "figures": [asdict(f) for f in figures]}, indent=1) + "\n"
    write_atomically(RESULTS / f"{name}.json", text)
    rows = [f"| {f.name} | {number(f.value)} {f.unit} | {f.wanted} | {_met(f)} |" for f in figures]
    entry = [
        f"\n### {name}, {when}, commit {commit}\n",
        f"{about} {note}".strip() + f" `{command}`, {machine}.\n",
        "| figure | measured | target | met |",
        "|---|---|---|---|",
        *rows,
    ]
    with LOG.open("a", encoding="utf-8") as log:
        log.write("\n".join(entry) + "\n")


def _met(figure: Figure) -> str:
    return {None: "", True: "yes", False: "**no**"}[figure.met]


def _stolen() -> str:
    """How much of the CPU time this run's machine had to leave to others on the same host, where that is known."""
    now = psutil.cpu_times()
    if not hasattr(now, "steal"):
        return ""
    share = (now.steal - BEGAN.steal) / max(1e-9, sum(now) - sum(BEGAN))
    return f", {share:.0%} of its time taken by the host"


def _commit() -> str:
    """The commit that was measured, with `+` where files were changed after it."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], capture_output=True, text=True, cwd=HERE).stdout.strip()

    changed = git("status", "--porcelain", "--", "wbrag", "jobs", "serve", "benchmarks/*.py")
    return (git("rev-parse", "--short=9", "HEAD") or "unknown") + ("+" if changed else "")

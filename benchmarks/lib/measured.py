"""The record of a benchmark run: figures with targets, shown on the terminal and kept as JSON.

`results/NAME.json` is the run that tables quote; the one it replaces moves to `results/earlier/`, so that no figure is
lost. `--quick` runs the same code on little, to see that it works; nothing of it is kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from wbrag.core.io.files import write_atomically
from wbrag.evaluation.report.provenance import hardware

BENCHMARKS = Path(__file__).resolve().parents[1]
RESULTS = BENCHMARKS / "results"
BEGAN = psutil.cpu_times()


@dataclass(frozen=True)
class Figure:
    """One number. `target` is what it should be at least (`better="higher"`) or at most.

    One with `short`, its name in a few words, goes into the speed table of `benchmarks/README.md`.
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


def as_they_come(name: str, figures: Iterable[Figure], out: Path | None) -> list[Figure]:
    """Print each figure when it is there, and keep all so far in `out/NAME.json`: a machine may be lent for minutes."""
    found: list[Figure] = []
    for figure in figures:
        found.append(figure)
        print(f"{name}: {figure.name}: {number(figure.value)} {figure.unit}", flush=True)
        if out is not None:
            so_far = {"name": name, "hardware": hardware(), "commit": _commit(), "figures": [asdict(f) for f in found]}
            write_atomically(out / f"{name}.json", json.dumps(so_far, indent=1) + "\n")
    return found


def record(
    name: str,
    command: str,
    figures: Sequence[Figure],
    about: str,
    *,
    quick: bool,
    note: str = "",
    results: Path = RESULTS,
) -> None:
    """Show `figures`; of a whole run also write `results/NAME.json`.

    `about` says in a sentence or two what was measured on what, for somebody who reads the figures alone.
    """
    taken = _taken_by_host()
    machine = hardware() + ("" if taken is None else f", {taken:.0%} of its time taken by the host")
    table = Table(title=f"{name}: {about}", title_justify="left", caption=machine, caption_justify="left")
    for column in ("figure", "measured", "target", "met"):
        table.add_column(column, justify="right" if column == "measured" else "left")
    for f in figures:
        table.add_row(f.name, f"{number(f.value)} {f.unit}", f.wanted, _met(f))
    Console().print(table)
    if quick:
        return
    run = {
        "name": name,
        "command": command,
        "about": about,
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": _commit(),
        "hardware": hardware(),
        "taken_by_host": taken,
        "note": note,
        "figures": [asdict(f) for f in figures],
    }
    latest = results / f"{name}.json"
    if latest.exists():
        replaced = latest.read_text(encoding="utf-8")
        write_atomically(results / "earlier" / f"{name}-{_stamp(json.loads(replaced)['when'])}.json", replaced)
    write_atomically(latest, json.dumps(run, indent=1) + "\n")


def _stamp(when: str) -> str:
    """A run's time as a part of a file's name: `2026-11-22 16:05` is `2026-11-22T1605`."""
    return when.replace(" ", "T").replace(":", "")


def _met(figure: Figure) -> str:
    return {None: "", True: "yes", False: "**no**"}[figure.met]


def _taken_by_host() -> float | None:
    """The share of this machine's CPU time that others on the same host had during the run, where that is known."""
    now = psutil.cpu_times()
    if not hasattr(now, "steal"):
        return None
    return round(float((now.steal - BEGAN.steal) / max(1e-9, sum(now) - sum(BEGAN))), 3)


def _commit() -> str:
    """The commit that was measured, with `+` where files were changed after it."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], capture_output=True, text=True, cwd=BENCHMARKS).stdout.strip()

    changed = git("status", "--porcelain", "--", "../wbrag", "../jobs", "../serve", "*.py", "lib/*.py")
    return (git("rev-parse", "--short=9", "HEAD") or "unknown") + ("+" if changed else "")

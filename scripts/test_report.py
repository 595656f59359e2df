"""Run a lane of the tests and write its figures into docs/testing.md: `python scripts/test_report.py test`.

Minutes are those of the whole `make` command, lint and types included; only what this run measured is written.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "testing.md"
SHOWN = 50


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("lane", choices=["test", "test-all", "drill"])
    asked.add_argument("--without-setup", action="store_true", help="take .venv as it is")
    told = asked.parse_args()
    command = ["make", *(["-o", "setup"] if told.without_setup else []), told.lane]
    began = time.monotonic()
    ended = subprocess.run(command, cwd=ROOT, check=False)
    seconds, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"test_report: expected `make {told.lane}` to pass, found exit {ended.returncode}: see above")
    table = report(ROOT / "build" / f"{told.lane}.xml", seconds, used.ru_utime + used.ru_stime)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced(page, told.lane, table), encoding="utf-8")


def report(results: Path, seconds: float, cpu_s: float) -> str:
    """Markdown from pytest's JUnit file: a sentence and the slowest tests, each with its set-up and tear-down."""
    cases = list(ET.parse(results).iter("testcase"))
    skipped = sum(case.find("skipped") is not None for case in cases)
    slowest = sorted(cases, key=lambda case: -float(case.attrib["time"]))[:SHOWN]
    rows = [f"| {float(c.attrib['time']):.1f} | `{named(c)}` |" for c in slowest]
    left_out = f", {skipped} skipped" if skipped else ""
    return "\n".join(
        [
            f"**{seconds / 60:.1f} minutes** ({cpu_s:.0f} CPU seconds) for {len(cases)} tests{left_out}, on "
            f"{os.cpu_count()} cores ({processor()}), {datetime.now(UTC):%Y-%m-%d}.",
            "",
            "| seconds | test |",
            "|---:|---|",
            *rows,
        ]
    )


def named(case: ET.Element) -> str:
    """`unit/core/test_env.py::test_x`."""
    file = case.attrib["classname"].removeprefix("tests.").replace(".", "/")
    return f"{file}.py::{case.attrib['name']}"


def processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1].strip() if found else "unknown"


def replaced(page: str, lane: str, table: str) -> str:
    """The page with `table` between the markers of `lane`."""
    begin, end = f"<!-- begin {lane} -->", f"<!-- end {lane} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"test_report: expected the markers {begin} and {end} once in {PAGE.name}: put them back")
    head, rest = page.split(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    main()

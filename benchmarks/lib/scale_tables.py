"""Tables of docs/scale.md, from the figures that `scale.py` recorded."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]
Cells = dict[tuple[int, str], dict[str, float]]  # by passages and step: seconds, CPU, peak memory, written
WHOLE = ("ingest", "index")
SUMMARY = re.compile(r"summary of [\d,]+ rows")


def cells(run: Json) -> Cells:
    """What a run measured, by size and step."""
    found: Cells = {}
    for figure in run["figures"]:
        size, step, kind = figure["name"].split(": ")
        step = SUMMARY.sub("summary of as many rows", step)
        found.setdefault((int(size.split()[0].replace(",", "")), step), {})[kind] = figure["value"]
    return found


def steps(run: Json) -> str:
    """CPU seconds and peak memory of every step at every size."""
    found = cells(run)
    sizes, named = sorted({size for size, _ in found}), list(dict.fromkeys(step for _, step in found))
    heads = [f"{size:,} passages, {size // 10:,} units" for size in sizes]
    rows = [f"| step | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for step in named:
        told = [_told(found.get((size, step))) for size in sizes]
        rows.append(f"| {step} | {' | '.join(told)} |")
    note = f"CPU seconds, and MB at the peak, of all processes that a command starts. {run['hardware']}."
    return "\n".join([*rows, "", note])


def _told(cell: dict[str, float] | None) -> str:
    return f"{cell['CPU']:,.0f} s, {cell['peak memory']:,.0f} MB" if cell else ""


def updates(run: Json) -> str:
    """What a change of a share of the corpus costs, beside the whole build of the same size."""
    found = cells(run)
    rows = ["| passages | changed | seconds | CPU | written | of the whole build's CPU |", "|" + "---|" * 6]
    for size in sorted({size for size, _ in found}):
        whole = [found[size, step] for step in WHOLE]
        rows.append(_update(f"{size:,}", "all, from nothing", whole, whole))
        for share in sorted({step.split()[1] for at, step in found if at == size and step.endswith(" changed")}):
            rows.append(_update("", share, [found[size, f"{verb} {share} changed"] for verb in WHOLE], whole))
    return "\n".join(rows)


def kinds(run: Json) -> str:
    """What an update costs by how many passages change and how they lie, in a corpus of many shards."""
    found = cells(run)
    whole = [cell for (_, step), cell in found.items() if step.endswith(", all")]
    rows = ["| changed | seconds | CPU | written | of the whole build's CPU |", "|" + "---|" * 5]
    for what in dict.fromkeys(step.split(", ", 1)[1] for _, step in found):
        parts = [cell for (_, step), cell in found.items() if step.endswith(f", {what}")]
        rows.append(_update("", "all, from nothing" if what == "all" else what, parts, whole)[3:])
    about = next(figure["name"] for figure in run["figures"]).split(": ")[0]
    return "\n".join([*rows, "", f"{about}. {run['hardware']}."])


def _update(size: str, share: str, parts: list[dict[str, float]], whole: list[dict[str, float]]) -> str:
    seconds, cpu, written = (sum(part.get(kind, 0.0) for part in parts) for kind in ("seconds", "CPU", "written"))
    of, bytes_ = cpu / sum(part["CPU"] for part in whole), f"{written:,.0f} MB" if written else ""
    return f"| {size} | {share} | {seconds:,.0f} | {cpu:,.0f} s | {bytes_} | {of:.0%} |"


def growth(before: Json, after: Json) -> str:
    """What 10,000 units more cost, before and after the library was read by columns, ids and blocks."""
    rows = ["| step | CPU before | CPU now | memory before | memory now |", "|" + "---|" * 5]
    old, new = cells(before), cells(after)
    small, large = sorted({size for size, _ in old})[-2:]
    per = 100_000 / (large - small)  # ten passages a unit
    for step in dict.fromkeys(step for _, step in old):
        if all((size, step) in found for size in (small, large) for found in (old, new)) and " changed" not in step:
            more = [
                per * (found[large, step][kind] - found[small, step][kind])
                for kind in ("CPU", "peak memory")
                for found in (old, new)
            ]
            rows.append(f"| {step} | {more[0]:+,.0f} s | {more[1]:+,.0f} s | {more[2]:+,.0f} MB | {more[3]:+,.0f} MB |")
    return "\n".join(rows)

"""Tables of a trained reader: every measure without the adapter and with it, and how to answer with it."""

from __future__ import annotations

from wbrag.core.table import Table
from wbrag.executor.reader import ReaderResult
from wbrag.training.quality import Quality


def tables(found: ReaderResult) -> list[Table]:
    """For the terminal."""
    after = {one.name: one for one in found.after}
    rows = [[one.name, str(one.n), _percent(one), _percent(after[one.name])] for one in found.before]
    taught = ", ".join(f"{count} {kind}" for kind, count in found.made["exercises"].items())
    about = [[found.name, taught, f"{found.epoch:g}", f"--generator.adapter {found.folder}"]]
    return [
        (f"How {found.made['model']} reads", ["unseen questions", "n", "as it is", "with the adapter"], rows),
        ("", ["reader", "exercises", "epoch kept", "to answer with it"], about),
    ]


def _percent(one: Quality) -> str:
    low, high = one.ci95
    return f"{100 * one.mean:.1f}% ({100 * low:.0f} to {100 * high:.0f})"

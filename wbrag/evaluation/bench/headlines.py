"""Headlines: what a suite found, a sentence a claim, with all that a reader needs to doubt it.

Each names its set or pool, model, method and stratum, how many questions, the gain with its interval, p after Holm's
correction, and which controls are beaten beyond chance and which are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wbrag.enrich.rows import Row
from wbrag.evaluation.bench.figures import Bench
from wbrag.evaluation.bench.tables import ARMS, clear, points_of

_CLAIM = ("model", "method", "set", "pool", "stratum")


def headlines(bench: Bench) -> list[str]:
    """Pooled gains over the base first, then every set's, stratum by stratum where they are known."""
    return [*_claims(bench.pooled), *_claims(bench.strata or bench.comparisons)]


def _claims(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["over"] == "base":
            own = [other for other in rows if all(other.get(name) == row.get(name) for name in _CLAIM)]
            controls = [other for other in own if other["over"].startswith("control_")]
            yield f"{_about(row)}: {_found(row)}{_beaten(controls)}."


def _about(row: Row) -> str:
    of = f"{row['pool']} ({row['sets']} sets pooled)" if "pool" in row else row["set"]
    stratum = {None: "", "all": "all questions, "}.get(row.get("stratum"), f"{row.get('stratum')}, ")
    return f"**{of}**, {row['model']}, {row['method']}, {stratum}{row['n']} questions"


def _found(row: Row) -> str:
    verdict = ("a gain" if row["gain"] > 0 else "a loss") if _sure(row) else "no difference beyond chance"
    interval = row["ci95"] if "pool" in row else row["gain_ci95"]
    return f"{points_of(row['gain'], interval)} points over the base, p {row['p_holm']:.2g} after Holm, {verdict}"


def _beaten(controls: Sequence[Row]) -> str:
    beaten = [_name(row) for row in controls if row["gain"] > 0 and _sure(row)]
    others = [f"{_name(row)} ({100 * row['gain']:+.1f})" for row in controls if _name(row) not in beaten]
    parts = [f"beats {', '.join(beaten)}"] if beaten else []
    parts += [f"does not beat {', '.join(others)}"] if others else []
    return "".join(f"; {part}" for part in parts)


def _name(row: Row) -> str:
    return ARMS[row["over"]].removeprefix("control: ")


def _sure(row: Row) -> bool:
    return bool(row["p_holm"] < 0.05) if "pool" in row else clear(row)

"""Benchmark tables: scores with intervals (the paper's Table 2), construction (Table 3), studies, and cost per method.

Their only source is the records of a `Bench`; nothing is measured here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from wbrag.core.table import Table
from wbrag.enrich.rows import Row
from wbrag.evaluation.bench.comparisons import COSTS, means
from wbrag.evaluation.bench.figures import Bench

ARMS = {
    "closed_book": "no retrieval",
    "base": "base",
    "writeback": "write-back",
    "control_raw": "control: raw",
    "control_copies": "control: copies",
    "control_rows": "control: question-answer rows",
    "control_random": "control: random documents distilled",
    "control_no_utility_gate": "control: no utility gate",
    "control_no_document_gate": "control: no document gate",
}


def tables(bench: Bench) -> list[Table]:
    """Everything that a suite measured, for people."""
    found = [_scores(bench, model) for model in _distinct(bench.scores, "model")]
    found += [_gains(bench, model) for model in _distinct(bench.comparisons, "model")]
    found += [_strata(bench, model) for model in _distinct(bench.strata, "model")]
    found += [_pooled(bench)] if bench.pooled else []
    found += [_points(bench, study) for study in _distinct(bench.points, "study")]
    found += rankings(bench)
    return [*found, _construction(bench), _costs(bench)]


def _scores(bench: Bench, model: str) -> Table:
    rows = [r for r in bench.scores if r["model"] == model]
    sets = _distinct(rows, "set")

    def cell(r: Row) -> str:
        failed = f", {r['errors']} failed" if r["errors"] else ""
        return f"{_pct(r['score'])} ({_pct(r['ci95'][0])} to {_pct(r['ci95'][1])}){failed}"

    body = [
        [method, ARMS.get(arm, arm), *(_one(rows, cell, method=method, arm=arm, set=name) for name in sets)]
        for method in _distinct(rows, "method")
        for arm in _distinct(rows, "arm")
    ]
    return f"{model}: score in %, with 95% bootstrap interval", ["method", "library", *sets], body


def _gains(bench: Bench, model: str) -> Table:
    rows = [r for r in bench.comparisons if r["model"] == model]
    sets = _distinct(rows, "set")

    def cell(r: Row) -> str:
        low, high = r["gain_ci95"]
        star = "*" if clear(r) else ""
        return f"{100 * r['gain']:+.1f}{star} ({100 * low:+.1f} to {100 * high:+.1f}) p {r['p']:.2g}"

    body = [
        [method, ARMS.get(over, over), *(_one(rows, cell, method=method, over=over, set=name) for name in sets)]
        for method in _distinct(rows, "method")
        for over in _distinct(rows, "over")
    ]
    title = f"{model}: gain of write-back in points, McNemar p; * below 0.05 after Holm over the grid"
    return title, ["method", "over", *sets], body


def _pooled(bench: Bench) -> Table:
    head = ["model", "method", "pool", "shares", "sets", "questions", "over", "gain", "p", "spread between sets"]
    body = [
        [
            *(str(r[name]) for name in ("model", "method", "pool", "stratum", "sets", "n")),
            str(ARMS.get(r["over"], r["over"])),
            points_of(r["gain"], r["ci95"]),
            f"{r['p']:.2g}" + ("*" if r["p_holm"] < 0.05 else ""),
            f"{100 * r['tau']:.1f}",
        ]
        for r in bench.pooled
    ]
    return (
        "Gain of write-back in points, pooled over sets (random effects; 95% intervals by Hartung and Knapp)",
        head,
        body,
    )


def _strata(bench: Bench, model: str) -> Table:
    rows = [r for r in bench.strata if r["model"] == model]
    overs = _distinct(rows, "over")

    def gain(r: Row) -> str:
        return points_of(r["gain"], r["gain_ci95"]) + ("*" if clear(r) else "")

    body = []
    for r in (r for r in rows if r["over"] == "base"):
        name = {key: r[key] for key in ("method", "set", "stratum")}
        gains = [_one(rows, gain, over=over, **name) for over in overs]
        body.append([*name.values(), str(r["n"]), _pct(r["before"]), _pct(r["after"]), *gains])
    head = ["method", "set", "shares with training", "questions", "base", "write-back"]
    title = f"{model}: by what a question shares with training questions; gain in points, * below 0.05 after Holm"
    return title, [*head, *(f"over {ARMS.get(over, over)}" for over in overs)], body


def clear(r: Row) -> bool:
    """Whether a comparison is beyond chance after Holm, and its mean and its count of questions say the same."""
    return bool(r["p_holm"] < 0.05 and (r["gain"] > 0) == (r["wins"] > r["losses"]))


def _points(bench: Bench, study: str) -> Table:
    head = ["model", "method", "set", study, "units", "score", "gain over base", "p, uncorrected"]
    body = [
        [
            *(str(r[name]) for name in ("model", "method", "set", "value", "units")),
            _pct(r["score"]),
            f"{100 * r['gain']:+.1f} ({100 * r['gain_ci95'][0]:+.1f} to {100 * r['gain_ci95'][1]:+.1f})",
            f"{r['p']:.2g}",
        ]
        for r in bench.points
        if r["study"] == study
    ]
    judged = [r for r in bench.points if r["study"] == study and "kappa" in r]
    agree = "; ".join(f"{r['value']} agrees on {_pct(r['agreement'])}%, kappa {r['kappa']:.2f}" for r in judged)
    return f"Study: {study}" + (f" ({agree})" if agree else ""), head, body


RANKED = {
    "unseen": "Retrievers on sets that taught none of them, the whole index searched",
    "test": "Retrievers on held-out questions, the whole index searched",
    "candidates": "Candidate lists of questions that taught nothing; the teacher's ranking is the upper bound",
}


def rankings(bench: Bench) -> list[Table]:
    """Retrievers that learn beside their controls, over the encoder alone, set by set."""
    head = ["model", "set", "retriever", "questions", "recall@1", "MRR@10", "gain"]
    found = []
    for of in _distinct(bench.rankings, "of"):
        own = [r for r in bench.rankings if r["of"] == of]
        last = {"test": ["accuracy", "gain", "F1", "gain"], "candidates": ["utility nDCG@5", "gain"]}.get(of, [])
        body = [
            [r["model"], r["set"], r["arm"], str(r["n"]), _pct(r["recall_at_1"]) + ("*" if r["p_holm"] < 0.05 else "")]
            + _measured(r, "mrr_at_10")
            + ([*_answered(r, "acc"), *_answered(r, "f1")] if of == "test" else [])
            + (_measured(r, "utility_ndcg_at_5") if of == "candidates" else [])
            for r in own
        ]
        title = f"{RANKED[of]}; * p < 0.05 (McNemar, Holm over the ways of a set)"
        found.append((title, [*head, *last], body))
    return found


def _measured(r: Row, name: str) -> list[str]:
    return [f"{100 * r[name]:.1f}", points_of(r[f"{name}_gain"], r[f"{name}_ci95"])]


def _answered(r: Row, metric: str) -> list[str]:
    if f"{metric}_score" not in r:
        return ["", ""]
    star = "*" if r[f"{metric}_p_holm"] < 0.05 else ""
    return [_pct(r[f"{metric}_score"]) + star, points_of(r[f"{metric}_gain"], r[f"{metric}_gain_ci95"])]


def points_of(gain: float, ci95: Sequence[float]) -> str:
    """A gain with its interval, in points."""
    return f"{100 * gain:+.1f} ({100 * ci95[0]:+.1f} to {100 * ci95[1]:+.1f})"


def _construction(bench: Bench) -> Table:
    head = ["model", "method", "set", "accepted", "docs kept"]
    head += ["source words", "unit words", "compression", "fallback"]
    body = [
        [
            r["model"],
            r["method"],
            r["set"],
            f"{_pct(r['accepted'] / r['examples'])}% of {r['examples']}",
            f"{r['retained_docs_mean']:.2f}",
            f"{r['source_words_mean']:.0f}",
            f"{r['unit_words_mean']:.0f}",
            f"{r['compression_mean']:.2f}x",
            f"{_pct(r['fallback_rate'])}%",
        ]
        for r in bench.construction
    ]
    return "How the units came to be (paper, Table 3)", head, body


def _costs(bench: Bench) -> Table:
    head = ["model", "method", *(name.replace("_", " ") for name in COSTS), "of its own"]
    body = []
    for model in _distinct(bench.scores, "model"):
        for method in _distinct(bench.scores, "method"):
            rows = [r for r in bench.scores if (r["model"], r["method"], r["arm"]) == (model, method, "base")]
            if not rows:
                continue  # a part of the grid
            own = ", ".join(
                f"{name.replace('_', ' ')} {value:.3g}" for name, value in means([r["details"] for r in rows]).items()
            )
            body.append([model, method, *(_short(sum(r[n] for r in rows) / len(rows)) for n in COSTS), own])
    return (
        "Cost of an answer over the base library, means; equal prompts are answered once, so seconds depend on order",
        head,
        body,
    )


def markdown(bench: Bench, chosen: Sequence[Table] | None = None) -> str:
    """GitHub tables under headings: all, or those that are `chosen`."""
    parts = []
    for title, head, rows in tables(bench) if chosen is None else chosen:
        lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
        parts.append(f"**{title}**\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def as_csv(bench: Bench) -> str:
    """Every score and comparison, one a line."""
    out = io.StringIO()
    records = [{"record": "score", **{k: v for k, v in r.items() if k != "details"}} for r in bench.scores]
    records += [{"record": "comparison", **r} for r in bench.comparisons]
    records += [{"record": "point", **r} for r in bench.points]
    records += [{"record": "ranking", **r} for r in bench.rankings]
    records += [{"record": "stratum", **r} for r in bench.strata]
    records += [{"record": "pooled", **r} for r in bench.pooled]
    records += [{"record": "construction", **{k: v for k, v in r.items() if k != "words"}} for r in bench.construction]
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _one(rows: Sequence[Row], cell: Callable[[Row], str], **wanted: str) -> str:
    found = [r for r in rows if all(r[name] == value for name, value in wanted.items())]
    return cell(found[0]) if found else ""


def _distinct(rows: Sequence[Row], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _pct(share: float) -> str:
    return f"{100 * share:.1f}"

"""Demo story: the run's measurements as the `Story` that its page is drawn from.

Every figure comes from rows that the run has stored; no model is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wbrag.core.metrics import Comparison, bootstrap_ci
from wbrag.core.table import Table
from wbrag.core.types import unit_id
from wbrag.data.demo.facts import demo_world
from wbrag.data.demo.world import DEMO_SEED
from wbrag.evaluation.report.provenance import hardware, versions
from wbrag.evaluation.report.story import (
    Arm,
    Calls,
    Changed,
    Context,
    ExampleUnit,
    Funnel,
    Gain,
    HalfName,
    Provenance,
    Score,
    SourcePassage,
    Story,
)
from wbrag.units.releases import now
from wbrag.workspace import Workspace

Rows = Sequence[dict[str, Any]]
ARMS = {
    "closed_book": ("Closed book", "the model alone, no library"),
    "base": ("Base library", "the archive as it was"),
    "writeback": ("With write-back", "the archive and the distilled units"),
    "control_raw": (
        "Control: raw",
        "the archive and the retained passages of each accepted example, concatenated, not distilled",
    ),
    "control_copies": ("Control: copies", "the archive and a plain copy of every retained passage"),
}
GAINS = {
    "gain": "Write-back over base, all questions",
    "gain_reworded": "Trained facts in other words",
    "gain_new_facts": "Facts that no training question asked",
    "gain_over_control_raw": "Write-back over the raw control",
    "gain_over_control_copies": "Write-back over the copies control",
}
SHOWN = 24  # changed questions of each kind on the page


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The demo's result for the terminal: accuracy of every library, the gains, and where the page is."""

    def points(name: str, number: float) -> str:
        return f"{100 * number:+.1f}" if name.startswith("gain") else f"{100 * number:.1f}"

    def row(name: str, label: str) -> list[str]:
        low, high = result[f"{name}_ci95"]
        return [label, points(name, result[name]), f"{points(name, low)} to {points(name, high)}"]

    scores = [row(name, f"{label}: {holds}") for name, (label, holds) in ARMS.items()]
    gains = [[*row(name, label), f"{result[f'{name}_p']:.2g}"] for name, label in GAINS.items()]
    e = result["enrich"]
    made = [
        [str(e["examples"]), str(e["accepted"]), str(result["units"]), f"{result['seconds']:.0f} s", result["page"]]
    ]
    return [
        ("Accuracy on held-out questions, %", ["library", "all", "95% interval"], scores),
        ("Gain, points (McNemar's p)", ["", "gain", "95% interval", "p"], gains),
        ("", ["labelled", "accepted", "units", "took", "page"], made),
    ]


def tell(
    workspace: Workspace,
    arms: Mapping[str, Rows],
    gains: Mapping[str, Comparison],
    enrichment: Mapping[str, Any],
    verdicts: Rows,
    stages: list[tuple[str, float]],
) -> Story:
    """Everything that the page shows."""
    origins = [origin for row in arms["writeback"] for origin in row["hit_origins"]]
    return Story(
        arms=tuple(_arm(name, rows) for name, rows in arms.items()),
        gains=tuple(Gain(name, GAINS[name], c.gain, c.ci95, c.p, c.wins, c.losses) for name, c in gains.items()),
        funnel=_funnel(workspace, enrichment),
        writeback_share=origins.count("writeback") / max(1, len(origins)),
        retained_ranks={rank + 1: count for rank, count in enumerate(enrichment["retained_ranks"])},
        units=_published(workspace, verdicts)[:3],
        changed=_changed(workspace, arms["base"], arms["writeback"]),
        provenance=_provenance(workspace, enrichment, stages),
    )


def _score(rows: Rows, prefix: str) -> Score:
    values = [row["score"] for row in rows if row["id"].startswith(prefix)]
    return Score(len(values), sum(values) / max(1, len(values)), bootstrap_ci(values))


def _arm(name: str, rows: Rows) -> Arm:
    label, description = ARMS[name]
    whole = _score(rows, "")
    return Arm(
        name, label, description, whole.n, whole.score, whole.ci95, _score(rows, "reworded-"), _score(rows, "new-")
    )


def _funnel(workspace: Workspace, e: Mapping[str, Any]) -> Funnel:
    releases, shelved = workspace.releases.all(), len(workspace.shelf.ids())
    return Funnel(
        e["examples"],
        e["accepted"],
        e["closed_book_suffices"],
        e["retrieval_did_not_help"],
        e["quarantined"],
        shelved,  # not what this run added: a second run adds none
        e["accepted"] - shelved,
        releases[-1].units if releases else 0,
        Calls(**e["calls"]),
        e["retained_docs_mean"],
        e["fallback_rate"],
        e["compression_mean"],
        e["ends"],
    )


def _published(workspace: Workspace, verdicts: Rows) -> tuple[ExampleUnit, ...]:
    approved = {id for id, state in workspace.decisions.states().items() if state == "approved"}
    rows = [row for row in verdicts if row["accepted"] and not row["rewrite_fallback"]]
    return tuple(_unit(row) for row in rows if unit_id(f"{row['unit_title']}\n{row['unit_text']}") in approved)


def _unit(row: Mapping[str, Any]) -> ExampleUnit:
    titles = {p.id: p.title for p in demo_world().passages}
    evidence = tuple(SourcePassage(e["sentence"], e["passage_id"], titles[e["passage_id"]]) for e in row["evidence"])
    return ExampleUnit(row["question"], row["unit_title"], row["unit_text"], evidence)


def _changed(workspace: Workspace, base: Rows, writeback: Rows) -> tuple[Changed, ...]:
    texts = {p.id: (p.title, p.text) for p in demo_world().passages}
    texts |= {unit.id: (unit.title, unit.text) for unit in workspace.shelf.units()}
    better: list[Changed] = []
    worse: list[Changed] = []
    for before, after in zip(base, writeback):
        if before["score"] != after["score"]:
            half: HalfName = "reworded" if before["id"].startswith("reworded") else "new_facts"
            changed = Changed(
                before["id"],
                half,
                before["question"],
                tuple(before["golden_answers"]),
                before["prediction"],
                after["prediction"],
                after["score"] > before["score"],
                _context(before, texts),
                _context(after, texts),
            )
            (better if changed.better else worse).append(changed)
    return (*better[:SHOWN], *worse[:SHOWN])


def _context(row: Mapping[str, Any], texts: Mapping[str, tuple[str, str]]) -> tuple[Context, ...]:
    return tuple(
        Context(origin, *texts[id], score)
        for id, origin, score in zip(row["hit_ids"], row["hit_origins"], row["hit_scores"])
    )


def _provenance(workspace: Workspace, enrichment: Mapping[str, Any], stages: list[tuple[str, float]]) -> Provenance:
    config = workspace.config
    return Provenance(
        model=f"{config.generator.model} ({config.generator.backend}, {config.generator.dtype})",
        encoder=config.encoder.model,
        prompt_version=workspace.prompt_version(),
        hardware=hardware(),
        created_at=now(),
        seeds={"world": DEMO_SEED, "run": config.seed},
        fingerprints={"enrichment": enrichment["fingerprint"]},
        versions=versions(),
        stages=tuple(stages),
    )

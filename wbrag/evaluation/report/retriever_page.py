"""Training page: what a trained retriever gains on held-out questions beside its control, and how it learned."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from wbrag.core.io.files import Location
from wbrag.core.metrics import Interval
from wbrag.core.table import Table
from wbrag.evaluation.report import plots
from wbrag.evaluation.report.page import environment, write_html
from wbrag.evaluation.report.provenance import hardware
from wbrag.evaluation.report.wording import points, span
from wbrag.executor.trainer import Difference, Held, TrainResult, deciding

LABELS = {
    "recall_at_1": "Recall@1 of gold passages",
    "mrr_at_10": "MRR@10 of gold passages",
    "utility_ndcg_at_5": "Utility nDCG@5",
}

STAYS = {
    "adapter": "Index, units and encoder stay as they are.",
    "reranker": "Index, units and encoder stay as they are; the reranker reads their best hits again.",
    "encoder": "Passages and units must be embedded anew with it, beside the index that is there.",
}


def write_training(found: TrainResult, path: Location) -> None:
    """Write the page to `path`, whole or not at all."""
    write_html(path, render(found))


def render(found: TrainResult) -> str:
    part = found.retriever.parts[-1]
    settings = ", ".join(f"{name} {value}" for name, value in part.made["settings"].items())
    made = {
        "Name": found.retriever.name,
        "Learned from": f"{found.examples}, verdicts {found.run.folder.name}",
        "Left out": left(found),
        "Settings": settings,
        "Seed": str(part.made["seed"]),
        "Generator": part.made["generator"],
        "Encoder": found.retriever.encoder_model,
        "Over": ", ".join(found.retriever.parents),
        "Hardware": hardware(),
        "Made": found.retriever.created_at,
    }
    page = environment().get_template("retriever.html.j2")
    return (
        page.render(
            found=found,
            headline=headline(found),
            labels=LABELS,
            stays=STAYS[found.kind],
            before=f"the retriever {found.retriever.parents[0]}" if found.retriever.parents else "the encoder alone",
            gains=gains(found.held),
            curves=plots.losses(found.curves.taught, found.curves.stopping, found.epoch),
            made=made,
        ).lstrip()
        + "\n"
    )


def headline(found: TrainResult) -> str:
    """The deciding measure in words; a gain that may be chance is called that."""
    one = deciding(found.held)
    said = f"{LABELS[one.name]} {points(one.gain.gain)} points on {one.n} held-out questions"
    if one.gain.ci95.low > 0:
        shared = ", but the control gains too" if one.control and one.control.ci95.low > 0 else ""
        return f"Better: {said} (95% interval {span(one.gain.ci95)}){shared}."
    return f"Not shown to be better: {said} (95% interval {span(one.gain.ci95)})."


def left(found: TrainResult) -> str:
    """Rows that taught nothing, by the reason."""
    return ", ".join(f"{count} {name}" for name, count in found.left._asdict().items() if count)


def gains(held: tuple[Held, ...]) -> Markup:
    """A dot a measure, and below it its control's."""
    rows = [
        row
        for one in held
        for row in (
            _row(LABELS[one.name], one.n, one.gain, control=False),
            _row(f"{LABELS[one.name]}: shuffled labels", one.n, one.control, control=True),
        )
        if row is not None
    ]
    return plots.differences("held-out", "Gain over what was there before, in points", rows)


def _row(
    label: str, n: int, gain: Difference | None, *, control: bool
) -> tuple[str, str, float, Interval, bool] | None:
    return gain and (label, f"{n} questions, {span(gain.ci95)}", gain.gain, gain.ci95, control)


def tables(found: TrainResult, page: str) -> list[Table]:
    """For the terminal: every measure with its control, and what to do next."""
    rows = [
        [LABELS[h.name], str(h.n), f"{h.before:.3f}", f"{h.after:.3f}", _points(h.gain), _points(h.control)]
        for h in found.held
    ]
    asked = found.questions
    about = [
        [
            found.retriever.name,
            f"{asked['taught']} + {asked['stopping']}",
            left(found) or "none",
            following(found),
            page,
        ]
    ]
    head = ["held out", "questions", "before", "trained", "gain, points", "control's gain"]
    return [
        (headline(found), head, rows),
        ("", ["retriever", "learned from", "left out", "to answer with it", "page"], about),
    ]


def following(found: TrainResult) -> str:
    """The command that answers with it; an encoder needs an index of its own first."""
    if found.kind == "encoder":
        return f"wbrag index --encoder.model {found.folder}"
    return "wbrag publish" if found.retriever.better else f"wbrag publish --retriever {found.retriever.name}"


def _points(gain: Difference | None) -> str:
    return f"{points(gain.gain)} ({span(gain.ci95)})" if gain else "not trained"


def to_json(found: TrainResult, page: str) -> dict[str, Any]:
    """The result for programs."""
    return {
        "retriever": found.retriever.name,
        "kind": found.kind,
        "following": following(found),
        "better": found.retriever.better,
        "deciding": deciding(found.held).name,
        "examples": found.examples,
        "questions": dict(found.questions),
        "left_out": found.left._asdict(),
        "epoch": found.epoch,
        "held_out": {h.name: _measure(h) for h in found.held},
        "verdicts": str(found.run.folder),
        "page": page,
    }


def _measure(h: Held) -> dict[str, Any]:
    gain, control = ({"gain": g.gain, "ci95": list(g.ci95)} if g else None for g in (h.gain, h.control))
    return {"n": h.n, "before": h.before, "after": h.after, **(gain or {}), "control": control}

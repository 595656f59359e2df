"""Report and desk plots: one SVG element each, whose figures are said to those who do not see it.

Colours are the page's own CSS variables, so that both colour schemes and print work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import cycle, zip_longest
from typing import Any, Literal

from markupsafe import Markup

from wbrag.core.metrics import Interval
from wbrag.evaluation.diagnosis.diagnose import Part
from wbrag.evaluation.report.figure import ACCENT, FAINT, INK, PLAIN, SOFT, WARM, drawn
from wbrag.evaluation.report.rows import Row, bar, chart, dot
from wbrag.evaluation.report.story import Arm, Funnel, Gain, Score
from wbrag.evaluation.report.wording import chance, count, duration, percent, percent_span, points, span

Record = dict[str, Any]
Point = tuple[float, float]
SERIES = (
    (ACCENT, "-", "o"),
    (WARM, "--", "s"),
    (PLAIN, "-.", "^"),
    (INK, ":", "D"),
    (SOFT, "-", "v"),
    (ACCENT, ":", "x"),
)


# -- the demo and the desk --------------------------------------------------------------------------------------------


def accuracy(arms: Sequence[Arm], half: Literal["reworded", "new_facts"] | None = None) -> Markup:
    """A bar an arm, on all questions or on one half, which is narrow; arms without that half are left out."""
    measured: list[tuple[Arm, Arm | Score | None]] = [(arm, getattr(arm, half) if half else arm) for arm in arms]
    colours = {"base": PLAIN, "writeback": ACCENT}
    rows = [
        Row(arm.label, percent(m.score), percent_span(m.ci95), m.score, m.ci95, colours.get(arm.name, FAINT))
        for arm, m in measured
        if m is not None
    ]
    axis = {share: f"{share:.0%}" for share in (0, 0.25, 0.5, 0.75, 1)}
    title = f"Accuracy of each library{f', {half}'.replace('_', ' ') if half else ''}"
    return chart(f"accuracy-{half or 'all'}", title, rows, bar, axis, wide=half is None)


def forest(gains: Iterable[Gain], name: str = "gains", wide: bool = True) -> Markup:
    """A dot a gain with its 95% interval, in points; filled where chance is ruled out."""
    return _forest(name, [_gain(g.label, g.gain, g.ci95, g.p, g.sign) for g in gains], wide)


def funnel(f: Funnel) -> Markup:
    """From labelled questions to published units, each against the first."""
    merged = f"one passage per accepted question; {count(f.units_merged)} near-duplicates merged"
    checked = "passed every check: grounded, round trip, no conflict and four more"
    steps = (
        ("Labelled questions", f.examples, "what training starts from"),
        ("Passed the utility gate", f.accepted, "the library made the answer better"),
        ("Units on the shelf", f.units_shelved, merged),
        ("Units published", f.units_published, checked),
    )
    rows = [Row(name, count(n), detail, n, colour=ACCENT) for name, n, detail in steps]
    return _bars("steps", "From labelled questions to units", rows)


def causes(parts: Sequence[Part]) -> Markup:
    """A bar a cause, by its share of all questions."""
    rows = [
        Row(p.cause.title, f"{count(p.count)}, {percent(p.share)}", percent_span(p.ci95), p.share, p.ci95, _colour(p))
        for p in parts
    ]
    axis = {share: f"{share:.0%}" for share in (0, 0.25, 0.5, 0.75, 1)}
    return chart("causes", "Causes of right and wrong answers", rows, bar, axis)


def _colour(part: Part) -> str:
    return ACCENT if part.cause.right else FAINT if part.cause.name == "unclear" else WARM


def stages(seconds: Sequence[tuple[str, float]]) -> Markup:
    """The time of every stage, and its share of the whole."""
    whole = sum(s for _, s in seconds if math.isfinite(s)) or math.nan
    rows = [Row(name, duration(s), percent(s / whole), s, colour=FAINT) for name, s in seconds]
    return _bars("stages", "Time of every stage", rows)


def kept_ranks(kept: Mapping[int, int]) -> Markup:
    """A column a rank, from rank 1 to the highest, gaps included."""
    numbers = {rank: kept.get(rank, 0) for rank in range(1, max(kept) + 1)}
    shares = [percent(n / max(1, sum(numbers.values()))) for n in numbers.values()]
    said = "; ".join(f"rank {rank}: {n}, {share}" for (rank, n), share in zip(numbers.items(), shares))

    def draw(figure: Any) -> None:
        axes = _axes(figure)
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        columns = axes.bar(list(numbers), list(numbers.values()), width=0.62, color=ACCENT, alpha=0.75)
        axes.bar_label(columns, shares, padding=3, color=SOFT, size=9)
        axes.bar_label(columns, [count(n) for n in numbers.values()], padding=14, size=11, weight="bold")
        axes.set_xticks(list(numbers), [f"rank {rank}" for rank in numbers])
        axes.tick_params(length=0)
        axes.set_yticks([])
        axes.margins(y=0.25)

    return _plot(draw, "kept-ranks", "Passages kept, by their rank in the search result", said)


def differences(name: str, title: str, found: Sequence[tuple[str, str, float, Interval, bool]]) -> Markup:
    """A dot a difference (label, detail, value, interval, whether it is a control's), in points around zero."""
    rows = []
    for label, detail, value, ci95, control in found:
        sign = 1 if ci95.low > 0 else -1 if ci95.high < 0 else 0
        colour = PLAIN if control else (SOFT, ACCENT, WARM)[sign]
        interval = Interval(100 * ci95.low, 100 * ci95.high)
        rows.append(Row(label, f"{points(value)} points", detail, 100 * value, interval, colour, not sign))
    return _forest(name, rows, title=title)


def losses(taught: Sequence[Point], stopping: Sequence[Point], kept: float) -> Markup:
    """Both parts' loss by epoch, and the epoch whose weights were kept."""

    def draw(figure: Any) -> None:
        axes = _axes(figure)
        for label, values, (colour, line, _) in zip(("taught", "stopping"), (taught, stopping), SERIES):
            axes.plot(*zip(*values), line, color=colour, label=label)
        axes.axvline(kept, color=INK, linewidth=1, linestyle=":")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        _legend(axes, ("taught", "stopping"))

    best = min(loss for _, loss in stopping)
    said = (
        f"taught from {taught[0][1]:.3g} to {taught[-1][1]:.3g}, stopping from {stopping[0][1]:.3g}, at best {best:.3g}"
    )
    return _plot(draw, "losses", "Loss by epoch", f"{said}, epoch {kept:.3g} kept")


# -- suites -----------------------------------------------------------------------------------------------------------


def gains(rows: Sequence[Record]) -> Markup:
    """Gain of write-back over the base by cell, with 95% intervals; filled where it is `clear`."""
    signs = ((1 if r["gain"] > 0 else -1) if r["clear"] else 0 for r in rows)
    cells = [_gain(name_of(r, rows), r["gain"], r["gain_ci95"], r["p"], sign) for r, sign in zip(rows, signs)]
    return _forest("gains", cells)


def curves(points: Sequence[Record], study: str) -> Markup:
    """Gain against the study's value, a line a cell, bands of 95%."""
    cells = list(dict.fromkeys(name_of(r, points) for r in points))
    labels = list(dict.fromkeys(str(r["value"]) for r in points))

    def draw(figure: Any) -> None:
        axes = _axes(figure)
        for cell, (colour, line, mark) in zip(cells, cycle(SERIES)):
            rows = [r for r in points if name_of(r, points) == cell]
            x = [labels.index(str(r["value"])) for r in rows]
            axes.plot(x, [100 * r["gain"] for r in rows], line, marker=mark, color=colour, label=cell, markersize=5)
            low, high = ([100 * r["gain_ci95"][end] for r in rows] for end in (0, 1))
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1)
        axes.set_xticks(range(len(labels)), labels, rotation=30 if max(map(len, labels)) > 8 else 0)
        axes.set_xlabel(study.replace("_", " "))
        axes.set_ylabel("gain, points")
        _legend(axes, cells)

    said = "; ".join(f"{name_of(r, points)} at {r['value']}: {100 * r['gain']:+.1f}" for r in points)
    return _plot(draw, f"study-{study}", f"Gain in points by {study.replace('_', ' ')}", said)


def ranks(construction: Sequence[Record]) -> Markup:
    """Share of the retained documents by retrieval rank (paper, Fig. 3), a line a set."""
    shares = {}
    for name, lists in _by_set(construction, "retained_ranks").items():
        counts = [sum(found) for found in zip_longest(*lists, fillvalue=0)]
        shares[name] = [100 * n / max(1, sum(counts)) for n in counts]

    def draw(figure: Any) -> None:
        axes = _axes(figure)
        for (name, found), (colour, line, mark) in zip(shares.items(), cycle(SERIES)):
            axes.plot(range(1, len(found) + 1), found, line, marker=mark, color=colour, label=name)
        axes.set_xticks(range(1, max(map(len, shares.values()), default=0) + 1))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("retrieval rank")
        axes.set_ylabel("% of retained documents")
        _legend(axes, shares)

    said = "; ".join(f"{name}: {', '.join(f'{share:.0f}%' for share in found)}" for name, found in shares.items())
    return _plot(draw, "ranks", "Retained documents by retrieval rank", said)


def compression(construction: Sequence[Record]) -> Markup:
    """Words of the sources against words of the unit, a dot a unit."""
    pairs = {
        name: [pair for found in lists for pair in found] for name, lists in _by_set(construction, "words").items()
    }

    def draw(figure: Any) -> None:
        axes = _axes(figure)
        for (name, found), (colour, _, mark) in zip(pairs.items(), cycle(SERIES)):
            source, unit = zip(*found) if found else ((), ())
            axes.plot(source, unit, mark, color=colour, markersize=3.5, alpha=0.6, label=name)
        most = max([*axes.get_xlim(), 1.0])
        axes.plot([0, most], [0, most], color=PLAIN, linewidth=1, linestyle=":")
        axes.set_xlim(0, most)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("words of the retained passages")
        axes.set_ylabel("words of the unit")
        _legend(axes, pairs)

    said = "; ".join(
        f"{name}: {sum(s for s, _ in found):,} words of sources, {sum(u for _, u in found):,} of {len(found):,} units"
        for name, found in pairs.items()
    )
    return _plot(draw, "compression", "Words of every unit and of its sources", said)


def name_of(r: Record, rows: Sequence[Record]) -> str:
    """The cell's name, without the parts that all rows share."""
    parts = [r[key] for key in ("set", "method", "model") if len({row[key] for row in rows}) > 1]
    return ", ".join(parts) or str(r["set"])


def _by_set(construction: Sequence[Record], field: str) -> dict[str, list[Any]]:
    """`field` of every method and model, by set."""
    found: dict[str, list[Any]] = {}
    for r in construction:
        found.setdefault(r["set"], []).append(r[field])
    return found


# -- their parts ------------------------------------------------------------------------------------------------------


def _bars(name: str, title: str, rows: Sequence[Row]) -> Markup:
    """From nothing to the largest, whose values stand beside them."""
    largest = max((row.at for row in rows if math.isfinite(row.at)), default=0)
    return chart(name, title, rows, bar, {0: "", largest or 1: ""})


def _gain(label: str, gain: float, ci95: Sequence[float], p: float, sign: int) -> Row:
    colour, clear = ((SOFT, "not clear"), (ACCENT, "a clear gain"), (WARM, "a clear loss"))[sign]
    interval = Interval(100 * ci95[0], 100 * ci95[1])
    detail = f"{span(Interval(*ci95))}, {chance(p)}"
    return Row(label, f"{points(gain)} points", detail, 100 * gain, interval, colour, not sign, note=clear)


def _forest(
    name: str, rows: Sequence[Row], wide: bool = True, title: str = "Gains in points, with 95% intervals"
) -> Markup:
    """Dots and intervals around zero."""
    from matplotlib.ticker import MaxNLocator

    ends = [0.0, *(end for row in rows for end in (row.at, *(row.interval or ())) if math.isfinite(end))]
    room = max(1.0, 0.05 * (max(ends) - min(ends)))
    ticks = MaxNLocator(9, steps=(1, 2, 5, 10)).tick_values(min(ends) - room, max(ends) + room)
    axis = {float(at): points(at / 100).removesuffix(".0") for at in ticks}
    return chart(name, title, rows, dot, axis, wide=wide)


def _plot(draw: Callable[[Any], None], name: str, title: str, said: str) -> Markup:
    return drawn(draw, name, title, said, 320, 215, "narrow")


def _axes(figure: Any) -> Any:
    """The only ones of the figure, with room for what stands around them."""
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True)
    return axes


def _legend(axes: Any, names: Collection[str]) -> None:
    """Above the plot, where it hides nothing; none for a single series."""
    if len(names) > 1:
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)

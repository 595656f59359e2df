"""Result wording: numbers as readers see them, and the verdict in words.

The verdict follows from the numbers alone; a gain that may be chance, or that a control shares, is called that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wbrag.core.metrics import Interval
from wbrag.evaluation.diagnosis.diagnose import Diagnosis
from wbrag.evaluation.report.story import Gain, Story

NONE = "–"


def percent(share: float) -> str:
    """0.632 -> 63.2%"""
    return f"{100 * share:.1f}%" if math.isfinite(share) else NONE


def points(difference: float) -> str:
    """0.113 -> +11.3, with a true minus sign."""
    if not math.isfinite(difference):
        return NONE
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\N{MINUS SIGN}")


def span(interval: Interval) -> str:
    """The interval of a difference, in points."""
    return f"{points(interval[0])} to {points(interval[1])}"


def percent_span(interval: Interval) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}"


def p_value(p: float) -> str:
    """0.0321 -> 0.032; below a thousandth only that is said."""
    if not math.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def chance(p: float) -> str:
    """`p < 0.001`, `p = 0.032`, with spaces that lines do not break at."""
    text = p_value(p)
    return f"p {text if text.startswith('<') else '= ' + text}".replace(" ", "\N{NO-BREAK SPACE}")


def count(number: float) -> str:
    """12345 -> 12,345"""
    return f"{number:,.0f}" if math.isfinite(number) else NONE


def ratio(number: float) -> str:
    return f"{number:.1f}" if math.isfinite(number) else NONE


def duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return NONE
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


@dataclass(frozen=True)
class Headline:
    """`mood` is `yes`, `partly`, `unclear`, `no` or `none`."""

    mood: str
    title: str
    details: tuple[str, ...] = ()


def headline(story: Story) -> Headline:
    """The measured result in words; a gain that may be chance, or that a control shares, is called that."""
    gain, base, trained = story.gain("gain"), story.arm("base"), story.arm("writeback")
    if gain is None or base is None or trained is None:
        return Headline("none", "Nothing can be said yet: the trained library was not measured against the base.")
    before_after = (
        f"With its base library the model scores {percent(base.score)} on {count(base.n)} held-out questions; "
        f"with the trained library, {percent(trained.score)}. {_evidence(gain)}"
    )
    controls = tuple(control_sentence(story, control) for control in story.controls)
    size = points(abs(gain.gain)).lstrip("+")
    if gain.sign < 0:
        title = f"No: with the trained library the same model answers worse, by {size} points of {story.metric}."
        return Headline("no", title, (before_after,))
    if gain.sign == 0:
        title = (
            f"Not shown: the trained library changed {story.metric} by {points(gain.gain)} points, "
            f"but {_doubt(gain)}, so this may be chance."
        )
        return Headline("unclear", title, (before_after, *controls))
    return _gained(story, size, (before_after, *controls))


def _gained(story: Story, size: str, details: tuple[str, ...]) -> Headline:
    better = f"with the trained library the same model answers better, by {size} points of {story.metric}"
    if not story.controls:
        details = (*details, "No control was measured, so this cannot be told from the gain of merely adding text.")
        return Headline("partly", f"Yes, {better}; why it does was not tested against a control.", details)
    shared = [control for control in story.controls if control.sign <= 0]
    if shared:
        whom = " or ".join(_library(story, control) for control in shared)
        return Headline("partly", f"Only in part: {better}, but not shown to be better than with {whom}.", details)
    beaten = "the control library" if len(story.controls) == 1 else "any control library"
    return Headline("yes", f"Yes: {better}, and better than with {beaten}.", details)


def diagnosed(found: Diagnosis) -> str:
    """What is answered, and what most of the rest fails by."""
    answered = f"{percent(found.count(right=True) / found.n)} of the questions are answered with the library"
    if found.worst is None:
        return f"{answered}."
    share, cause = percent(found.worst.count / found.count(right=False)), found.worst.cause.title
    return f"{answered}; of the others, {share} fail for one reason: {cause[:1].lower()}{cause[1:]}."


def control_sentence(story: Story, control: Gain) -> str:
    """How the trained library stands against one control library."""
    verdict = {1: "better", 0: "not measurably better", -1: "worse"}[control.sign]
    return f"Compared with {_library(story, control)}, the trained library is {verdict}. {_evidence(control)}"


def _library(story: Story, control: Gain) -> str:
    arm = story.arm(control.name.removeprefix("gain_over_"))
    return f"\N{LEFT DOUBLE QUOTATION MARK}{arm.label if arm else control.label}\N{RIGHT DOUBLE QUOTATION MARK}"


def gain_sentence(gain: Gain) -> str:
    """What one gain shows, in a sentence that stands alone."""
    verdict = {1: "A measurable gain.", 0: "No measurable difference.", -1: "A measurable loss."}
    return f"{verdict[gain.sign]} {_evidence(gain)}"


def _evidence(gain: Gain) -> str:
    doubt = "" if gain.sign else f"; {_doubt(gain)}"
    return (
        f"Difference {points(gain.gain)} points (95% interval {span(gain.ci95)}, {chance(gain.p)}; "
        f"{count(gain.wins)} questions won, {count(gain.losses)} lost){doubt}."
    )


def _doubt(gain: Gain) -> str:
    if gain.ci95[0] <= 0 <= gain.ci95[1]:
        return "the 95% interval includes zero"
    return f"{chance(gain.p)} does not rule chance out"

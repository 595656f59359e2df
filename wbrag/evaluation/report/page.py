"""Demo report: one self-contained HTML page.

Templates escape every text, and fail on a value that they are not given.
"""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from wbrag.core.io.files import Location, file_in_one_step
from wbrag.evaluation.report import plots, wording
from wbrag.evaluation.report.story import ExampleUnit, Story


def write_page(story: Story, path: Location) -> None:
    """Write the page to `path`, whole or not at all."""
    write_html(path, render_page(story))


def write_html(path: Location, page: str) -> None:
    """Write a page, whole or not at all; a lone surrogate in a text is shown as its number."""
    with file_in_one_step(path) as draft:
        draft.write_text(page, encoding="utf-8", errors="backslashreplace")


def environment() -> Environment:
    """Templates that trust no text and refuse what they are not given."""
    made = Environment(
        loader=PackageLoader("wbrag.evaluation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "percent_span", "points", "span", "p_value", "count", "ratio", "duration"):
        made.filters[name] = getattr(wording, name)
    made.filters["passages"] = passages
    made.filters["code"] = code
    return made


def render_page(story: Story) -> str:
    page = (
        environment()
        .get_template("page.html.j2")
        .render(
            story=story,
            headline=wording.headline(story),
            gain_sentence=wording.gain_sentence,
            diagnosed=wording.diagnosed,
            plots=plots,
        )
    )
    return page.lstrip() + "\n"


def code(text: str) -> Markup:
    """`text` with what stands between backticks as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def passages(unit: ExampleUnit) -> dict[tuple[str, str], list[str]]:
    """The unit's evidence by the passage (id, title) that it stands in, in the order of first mention."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for source in unit.evidence:
        grouped.setdefault((source.passage_id, source.passage_title), []).append(source.sentence)
    return grouped

"""Pages: every relative link leads somewhere, its heading included; the README stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    page
    for folder in (".", "benchmarks", "docs", "examples", "suites", "tools", "wbrag")
    for page in ((ROOT / folder).glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))
)
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINKS = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")


def links(page: Path) -> list[str]:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [target for pair in LINKS.findall(text) for target in pair if target and "://" not in target]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them: lower case, dashes for spaces, no other punctuation."""
    lines = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} in {page.name}"
        assert not anchor or anchor in headings(found), f"{target} in {page.name}"


def test_the_readme_links_to_the_rest() -> None:
    assert len(links(ROOT / "README.md")) > 10, "no link is found: the pattern is wrong"


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_the_text_names_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").partition("<!-- modules:start -->")[0]
    named = [path for path in re.findall(r"`([\w./]+/\w+\.py)", text) if "NAME" not in path]
    assert len(named) > 5, "no file is found: the pattern is wrong"
    assert [path for path in named if not any((base / path).exists() for base in (ROOT, ROOT / "wbrag"))] == []


def test_the_readme_fits_two_screens_and_has_no_table() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120 and not any(line.startswith("|") for line in lines)

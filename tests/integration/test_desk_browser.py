"""The desk in a real browser: keyboard, decisions, publishing, rolling back, asking, roles, phone and dark."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.browser import FLAGS
from tests.support.desk import (
    CONTRASTS,
    GOOD,
    HOSTILE,
    INVENTED,
    DeskBench,
    desk,
    opened,
    plain,
    two_releases,
    used,
    workspace,
)
from tests.support.serving import served
from wbrag.serving.keys import Keys

pytestmark = pytest.mark.integration
# What browser and htmx say of a request that was refused, cut off, or overtaken by the next one.
SAID = re.compile(r"status of 40[13]|Status Error Code 403|ERR_FAILED|htmx:(afterRequest|sendAbort|sendError)")
expect.set_options(timeout=60_000)  # a machine that is busy with other tests
VIOLATIONS = "document.addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=found, args=[f for f in FLAGS if "window-size" not in f])
        yield started
        started.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = workspace(tmp_path_factory.mktemp("desk"), others=60)
    two_releases(store)
    used(store)
    return store.path


@pytest.fixture
def bench(made: Path, tmp_path: Path) -> DeskBench:
    return desk(opened(Path(shutil.copytree(made, tmp_path / "copy"))))


@pytest.fixture
def visit(browser: Browser, bench: DeskBench) -> Iterator[Callable[..., Page]]:
    """Open a page of the desk; in the end nothing may have been complained of in the console."""
    complaints: list[str] = []
    with served(bench.app) as address, ExitStack() as opened_pages:

        def visited(path: str = "/desk", width: int = 1280, **options: Any) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 844}, base_url=address, **options)
            opened_pages.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.add_init_script(VIOLATIONS)
            page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(path)
            return page

        yield visited
    assert not [text for text in complaints if not SAID.search(text)]


def states(bench: DeskBench) -> dict[str, str]:
    return dict(bench.store.decisions.states())


def test_units_are_approved_and_rejected_by_keyboard(bench: DeskBench, visit: Callable[..., Page]) -> None:
    page = visit()
    current = page.locator("#list .row[aria-current]")
    expect(current).to_contain_text(INVENTED.title)
    page.keyboard.press("r")
    expect(page.locator("#decision-title")).to_have_text(f"Reject “{INVENTED.title}”")
    page.locator("#decide [data-submit]").click()  # no reason yet
    assert INVENTED.id not in states(bench)
    page.get_by_role("button", name="grounding: no source holds “1953”").click()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_contain_text(f"Rejected “{INVENTED.title}”.")
    expect(page.locator("#decision")).not_to_be_visible()
    assert bench.store.decisions.all()[-1].why == "grounding: no source holds “1953”"
    expect(current).to_contain_text(HOSTILE)
    page.keyboard.press("j")
    expect(page.locator("#detail h2")).to_have_text(plain(1).title)
    page.keyboard.press("a")
    expect(page.locator("#status")).to_contain_text(f"Approved “{plain(1).title}”.")
    expect(page.locator("#detail h2")).to_have_text(plain(2).title)
    expect(current).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("#detail h2")).to_have_text(HOSTILE)
    assert states(bench)[plain(1).id] == "approved" and states(bench)[INVENTED.id] == "rejected"
    assert f"unit={current.get_attribute('data-unit')}" in page.url
    page.keyboard.press("u")
    expect(page.locator("#status")).to_contain_text("Nothing is undone here")
    before = states(bench)
    page.route("**/desk?unit=*", lambda route: None)  # the next unit never comes
    page.keyboard.press("j")
    page.keyboard.press("a")  # before the unit is there to be read
    expect(page.locator("#status")).to_contain_text("not shown yet")
    assert states(bench) == before


def test_what_failed_a_check_is_approved_only_with_a_reason(bench: DeskBench, visit: Callable[..., Page]) -> None:
    page = visit()
    page.keyboard.press("a")
    expect(page.locator("#decide [data-explain]")).to_have_text("It failed a check. Say why it is right all the same.")
    page.keyboard.press("Escape")
    expect(page.locator("#decision")).not_to_be_visible()
    assert INVENTED.id not in states(bench)
    page.keyboard.press("a")
    page.fill("#why", "The ledger of 1953 says so.")
    page.locator("#decide [data-submit]").click()
    expect(page.locator("#status")).to_contain_text("Approved")
    assert states(bench)[INVENTED.id] == "approved"


def test_many_are_decided_at_once(bench: DeskBench, visit: Callable[..., Page]) -> None:
    page = visit("/desk?check=passed")
    for _ in range(2):
        page.keyboard.press("x")
        page.keyboard.press("j")
    expect(page.locator("#bulk")).to_contain_text("2 selected")
    page.keyboard.press("Shift+a")
    page.fill("#why", "Read both.")
    page.locator("#decide [data-submit]").click()
    expect(page.locator("#status")).to_contain_text("Approved 2 units.")
    expect(page.locator("#bulk")).not_to_be_visible()
    page.check("#all")
    page.get_by_role("button", name="Select all 57").click()
    page.locator("#bulk [data-bulk=rejected]").click()
    page.fill("#why", "A test series.")
    page.locator("#decide [data-submit]").click()
    expect(page.locator("#status")).to_contain_text("Rejected 57 units.")
    found = list(states(bench).values())
    assert (found.count("approved"), found.count("rejected")) == (4, 57)
    expect(page.locator("#list")).to_contain_text("No unit matches.")


def test_search_filters_as_one_types_and_keeps_the_address(visit: Callable[..., Page]) -> None:
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("yard 1953")
    expect(page.locator("#list .row")).to_have_count(1)
    expect(page.locator("#detail h2")).to_have_text(INVENTED.title)
    assert "q=yard" in page.url
    page.select_option("#check", "passed")
    expect(page.locator("#list")).to_contain_text("No unit matches.")
    page.get_by_role("link", name="Clear the search").click()
    expect(page.locator("#list .row")).to_have_count(50)
    page.get_by_role("link", name="Next →").click()
    expect(page.locator("#list .row")).to_have_count(11)


def test_a_release_is_published_and_rolled_back(bench: DeskBench, visit: Callable[..., Page]) -> None:
    page = visit(f"/desk/units/{INVENTED.id}")
    page.locator("[data-decide=approved]").click()
    page.fill("#why", "Checked by hand.")
    page.locator("#decide [data-submit]").click()
    expect(page.locator(".history")).to_contain_text("Checked by hand.")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.locator(".next")).to_contain_text("+1 approved unit would join")
    page.fill("#note", "With the yard")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#status")).to_contain_text("Published r0003: 3 units.")
    expect(page.locator("#r0003")).to_contain_text("With the yard")
    page.get_by_role("link", name="Roll back to r0001").click()
    expect(page.locator("main")).to_contain_text("−2 units would stop answering")
    expect(page.locator("main")).to_contain_text(INVENTED.title)
    assert len(bench.store.releases.all()) == 3
    page.fill("#why", "Wrong years")
    page.get_by_role("button", name="Roll back to r0001").click()
    expect(page.locator("#status")).to_contain_text("r0004 answers as r0001 did")
    assert bench.store.releases.get("latest").restores == "r0001"


def test_publishing_shows_that_it_is_at_work(bench: DeskBench, visit: Callable[..., Page]) -> None:
    page = visit("/desk/releases")
    page.route("**/publish", lambda route: None)  # it never comes back
    expect(page.locator(".progress")).not_to_be_visible()
    page.get_by_role("button", name="Publish").click()
    expect(page.locator(".progress")).to_be_visible()
    expect(page.get_by_role("button", name="Publish")).to_be_disabled()


def test_both_ways_of_answering_are_compared(visit: Callable[..., Page]) -> None:
    page = visit("/desk/ask")
    page.fill("#question", "Who designed the Corvane gauge?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_text(["unknown", "Ada Thorn"])
    expect(page.locator(".outcome")).to_contain_text("differ; 1 of 2 passages on the right")
    page.locator(".hits .tag + a").click()
    expect(page.locator("h1")).to_have_text(GOOD.title)
    expect(page.locator(".served")).to_contain_text("Wrong year")


def test_counters_move_by_themselves(bench: DeskBench, visit: Callable[..., Page]) -> None:
    page = visit("/desk/usage")
    answers = page.locator("#live dd").first
    expect(answers).to_have_text("0")
    bench.app.state.service.metrics.answers.labels("naive").inc(7)
    expect(answers).to_have_text("7")


def test_a_key_opens_the_door_and_its_role_decides_what_is_there(bench: DeskBench, visit: Callable[..., Page]) -> None:
    keys = Keys(bench.store.path)
    reader, admin = keys.add("rita", "reader"), keys.add("ada", "admin")
    page = visit("/desk/releases")
    expect(page.locator("h1")).to_have_text("The knowledge owner's desk")
    page.fill("#key", reader)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("h1")).to_have_text("Releases")
    assert not page.get_by_role("button", name="Publish").count() and not page.get_by_text("Roll back…").count()
    page.goto("/desk")
    assert not page.locator("[data-decide], input[name=pick]").count()
    page.keyboard.press("a")
    page.keyboard.press("j")
    expect(page.locator("#detail h2")).to_have_text(HOSTILE)
    page.get_by_role("button", name="Log out").click()
    page.fill("#key", admin)
    page.keyboard.press("Enter")
    expect(page.locator(".who")).to_contain_text("ada admin")
    expect(page.locator("[data-decide=approved]")).to_be_visible()
    keys.remove("ada")
    page.keyboard.press("j")
    expect(page.locator("h1")).to_have_text("The knowledge owner's desk")


PATHS = ("", f"/units/{GOOD.id}", "/releases", "/releases/r0001/rollback", "/ask", "/review", "/usage")


def test_a_phone_shows_the_list_and_the_unit_one_after_the_other(visit: Callable[..., Page]) -> None:
    page = visit(width=390, has_touch=True)
    expect(page.locator("#detail")).not_to_be_visible()
    page.locator("#list .row").nth(1).tap()
    expect(page.locator("#detail h2")).to_have_text(HOSTILE)
    expect(page.locator("#list")).not_to_be_visible()
    approve = page.locator("#detail [data-decide=approved]").bounding_box()
    assert approve and approve["height"] >= 44 and approve["y"] + approve["height"] <= 844
    page.go_back()
    expect(page.locator("#list .row").first).to_be_visible()


def test_every_page_fits_a_phone_and_can_be_read_in_both_schemes(visit: Callable[..., Page]) -> None:
    page = visit("/desk/login")
    for path in PATHS:
        page.goto(f"/desk{path}")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            weak = page.evaluate(CONTRASTS)
            assert not weak, (scheme, path, weak)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path
        page.set_viewport_size({"width": 1280, "height": 844})


def test_the_pages_can_be_walked_through_with_tab_alone(visit: Callable[..., Page]) -> None:
    page = visit("/desk/releases")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    seen = set()
    for _ in range(18):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
            )
        )
        at = page.evaluate("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]")
        assert at[0] == "BODY" or at[1] != "none", at
    assert {"Queue", "Publish", "Roll back to r0001"} <= seen
    page = visit()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).not_to_be_visible()


def test_a_refusal_is_said_where_one_looks(bench: DeskBench, visit: Callable[..., Page]) -> None:
    page, down = visit("/desk?check=passed"), [False]
    page.route("**/desk?*", lambda route: route.abort() if down[0] else route.continue_())
    page.reload()  # what a page asks just after `route` may slip past it: the browser makes new loaders in its own time
    page.context.clear_cookies()
    page.keyboard.press("a")
    expect(page.locator("#status")).to_contain_text("this page's form has expired: load the page again")
    assert plain(1).id not in states(bench)
    down[0] = True
    page.keyboard.press("j")
    expect(page.locator("#status")).to_contain_text("The gateway does not answer")

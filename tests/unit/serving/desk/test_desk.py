"""The desk's pages, its queue and decisions, without a browser."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.support.desk import (
    GOOD,
    HOSTILE,
    INVENTED,
    LOST,
    PAGES,
    DeskBench,
    desk,
    opened,
    plain,
    post,
    rows,
    workspace,
)
from tests.support.serving import browse
from wbrag.serving.desk.pages import inside, static_version
from wbrag.serving.desk.queue import Filter
from wbrag.units.stored import FROM_TRAFFIC


@pytest.mark.parametrize("path", PAGES)
def test_pages_hold_no_script_style_or_address_of_a_unit(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200 and page.text.startswith("<!doctype html>")
    assert set(re.findall(r"<script\b[^>]*>", page.text)) == {
        f'<script src="/desk/static/{static_version()}/{name}.js" defer>' for name in ("htmx.min", "desk")
    }
    for tag in re.findall(r"<[a-zA-Z][^>]*>", page.text):
        assert not re.match(r"<(style|img|iframe|object|base)\b", tag) and not re.search(r"\s(style|on\w+)=", tag)
        assert not re.search(r'(href|src|action)="(?!/desk|#|data:,")', tag)
    assert "script-src 'self';" in page.headers["content-security-policy"]
    ids = re.findall(r'\sid="([^"]+)"', page.text)
    assert len(ids) == len(set(ids))


def test_a_hostile_unit_is_shown_as_text(client: TestClient) -> None:
    for page in (client.get(f"/desk/units/{LOST.id}"), client.get("/desk?q=javascript"), client.get("/desk/review")):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text and HOSTILE not in page.text
    searched = client.get("/desk", params={"q": '"><script>x', "check": "<b>", "unit": "'"})
    assert searched.status_code == 200 and "<script>x" not in searched.text and "No unit matches" in searched.text


def test_files_may_be_kept_for_good_and_nothing_else_is_served(client: TestClient) -> None:
    style = client.get(f"/desk/static/{static_version()}/desk.css")
    assert style.status_code == 200 and "immutable" in style.headers["cache-control"]
    assert "--accent" in client.get(f"/desk/static/{static_version()}/colours.css").text
    assert "no-store" in client.get("/desk/static/older/htmx.min.js").headers["cache-control"]
    for name in ("..%2fpages.py", "pages.py", "none.css"):
        assert client.get(f"/desk/static/x/{name}").status_code == 404
    assert client.get("/desk/static/x/htmx.LICENSE.txt").text.startswith("Zero-Clause BSD")


def test_what_is_not_there_is_a_page_that_says_so(client: TestClient) -> None:
    missing = client.get("/desk/units/wb-none")
    assert missing.status_code == 404 and "Expected the id of a unit" in missing.text
    assert client.get("/desk/nowhere").status_code == 404 and "Back to the queue" in client.get("/desk/nowhere").text
    plainly = client.get("/desk/units/wb-none", headers={"hx-request": "true"})
    assert plainly.headers["content-type"].startswith("text/plain") and "found &#39;" not in plainly.text


def test_the_queue_begins_with_what_failed_and_ends_with_what_passed(bench: DeskBench, client: TestClient) -> None:
    bench.store.decisions.decide([GOOD.id], "stale", by="wbrag", why="source n1 changed", policy="freshness")
    page = client.get("/desk")
    assert rows(page)[:2] == [INVENTED.id, GOOD.id] and len(rows(page)) == 6
    assert "Stale by wbrag" not in page.text, "only the chosen unit is told of at length"
    assert "Marked stale by wbrag" in client.get(f"/desk?unit={GOOD.id}").text
    assert rows(client.get("/desk?state=stale")) == [GOOD.id]
    assert rows(client.get("/desk?check=failed")) == rows(client.get("/desk?check=grounding")) == [INVENTED.id]
    assert rows(client.get("/desk?check=unchecked")) == [LOST.id]
    assert INVENTED.id not in rows(client.get("/desk?check=passed&state=all"))
    assert rows(client.get("/desk?q=yard 1953&state=all")) == [INVENTED.id]


def test_marks_checks_and_questions_stand_beside_the_sources(client: TestClient) -> None:
    page = client.get(f"/desk?unit={INVENTED.id}").text
    assert '<mark class="no"><span class="unseen">[not supported: </span>The yard opened in 1953.' in page
    assert '<mark class="yes">It was sold in 1911.</mark>' in page
    assert '<mark class="yes">The Corvane gauge was drawn by Ada Thorn.</mark> It rained.' in page
    assert "no source holds “1953”" in page and "threshold 0.7" in page and "Who designed the Corvane gauge?" in page
    lost = client.get(f"/desk/units/{LOST.id}").text
    assert "changed since" in lost and "It no longer says" in lost and "It was sold in 1900." in lost
    assert "No longer in the corpus" in lost and "It stood by the sea." in lost


def test_a_unit_that_was_learned_from_traffic_says_so(bench: DeskBench, client: TestClient) -> None:
    unit = replace(plain(1), title="Learned", scores={FROM_TRAFFIC: 1.0})
    vector = np.ones((1, 8), dtype=np.float32) / np.sqrt(8, dtype=np.float32)
    bench.store.shelf.add([unit], vector, "e", 1.1)
    for page in (f"/desk/units/{unit.id}", f"/desk?unit={unit.id}"):
        assert "learned from served answers" in client.get(page).text
    assert "learned from served answers" not in client.get(f"/desk/units/{GOOD.id}").text


def test_thousands_of_units_come_in_pages(tmp_path: Path) -> None:
    store = workspace(tmp_path, others=120)
    with browse(desk(store).app) as client:
        first, third = client.get("/desk"), client.get("/desk?page=3")
        assert len(rows(first)) == 50 and len(rows(third)) == 23 and "101–123 of 123" in third.text
        assert rows(client.get("/desk?page=99")) == rows(third)
        for odd in ("-1", "x", "²", "9" * 400):
            assert client.get(f"/desk?page={odd}").status_code == 200
        last = plain(119)
        page = client.get(f"/desk?unit={last.id}")
        assert last.id in rows(page) and 'class="queue opened"' in page.text, "the page follows the unit"


def test_a_page_without_end_is_the_first() -> None:
    assert Filter.read({"page": "9" * 5000}).page == Filter.read({"page": "\u0663"}).page == 1


def test_what_is_not_there_is_not_rolled_back(tmp_path: Path) -> None:
    with browse(desk(workspace(tmp_path)).app) as client:
        none = post(client, "/desk/releases/r0001/rollback", seen="r0001")
        assert none.status_code == 404 and "Expected a release to roll back from" in none.text


def test_empty_shelves_and_searches_say_so(tmp_path: Path) -> None:
    shutil.rmtree(workspace(tmp_path).path / "shelf")
    with browse(desk(opened(tmp_path)).app) as client:
        assert "The shelf is empty" in client.get("/desk").text
        assert "Nothing wants a look" in client.get("/desk/review").text
        assert "Nothing is published yet" in client.get("/desk/releases").text
        assert "No release is serving" in client.get("/desk/usage").text


def test_a_decision_is_signed_and_leads_back(bench: DeskBench, client: TestClient) -> None:
    back = f"/desk?unit={INVENTED.id}"
    unit = plain(1)
    done = post(client, "/desk/decide", ids=[unit.id], state="approved", back=back)
    assert str(done.url).endswith(back) and "Approved “Subject 001”." in done.text
    last = bench.store.decisions.all()[-1]
    assert (last.unit_id, last.state, last.by, last.policy) == (unit.id, "approved", "localhost", "person")
    assert "Approved “Subject" not in client.get("/desk").text, "it is said once"


@pytest.mark.parametrize("unit, state", [(GOOD, "retired"), (plain(1), "rejected"), (INVENTED, "approved")])
def test_what_needs_a_reason_is_refused_without(bench: DeskBench, client: TestClient, unit: object, state: str) -> None:
    before = len(bench.store.decisions.all())
    refused = post(client, "/desk/decide", ids=[unit.id], state=state, why="  ")  # type: ignore[attr-defined]
    assert "expected a reason, found none" in refused.text and len(bench.store.decisions.all()) == before
    post(client, "/desk/decide", ids=[unit.id], state=state, why="I know better.")  # type: ignore[attr-defined]
    assert bench.store.decisions.all()[-1].why == "I know better."


def test_a_step_that_a_units_life_does_not_have_is_explained(bench: DeskBench, client: TestClient) -> None:
    before = len(bench.store.decisions.all())
    ids = [plain(1).id, plain(0).id]
    assert "it is approved now" in post(client, "/desk/decide", ids=ids, state="rejected", why="x").text
    assert "expected at least one unit" in post(client, "/desk/decide", state="approved").text
    assert post(client, "/desk/decide", ids=ids, state="nonsense").status_code == 400
    assert len(bench.store.decisions.all()) == before


def test_all_that_match_are_decided_only_as_long_as_they_are_as_many(bench: DeskBench, client: TestClient) -> None:
    where = Filter(check="passed").url().partition("?")[2]
    assert "the list has changed" in post(client, "/desk/decide", state="approved", matching=7, where=where).text
    assert "Approved 3 units" in post(client, "/desk/decide", state="approved", matching=3, where=where).text
    assert bench.store.decisions.states()[plain(3).id] == "approved"


@pytest.mark.parametrize("headers", [{}, {"x-csrf-token": "wrong"}, {"sec-fetch-site": "cross-site"}])
def test_a_form_of_another_site_changes_nothing(bench: DeskBench, client: TestClient, headers: dict[str, str]) -> None:
    client.get("/desk")
    for path in ("/desk/decide", "/desk/releases/publish", "/desk/releases/r0001/rollback", "/desk/logout"):
        sent = client.post(path, data={"ids": [plain(1).id], "state": "approved", "seen": "r0002"}, headers=headers)
        assert sent.status_code == 403
    assert plain(1).id not in bench.store.decisions.states() and len(bench.store.releases.all()) == 2


@pytest.mark.parametrize(
    "address, kept",
    [
        ("/desk?q=a", "/desk?q=a"),
        ("https://evil.example/desk/x", "/desk/x"),
        ("//evil.example", "/desk"),
        ("/desk.evil", "/desk"),
        ("/\\evil.example", "/desk"),
        ("javascript:alert(1)", "/desk"),
        ("", "/desk"),
    ],
)
def test_the_way_back_stays_on_the_desk(address: str, kept: str) -> None:
    assert inside(address) == kept


def test_a_reviewer_corrects_a_unit_in_its_page(bench: DeskBench, client: TestClient) -> None:
    old = plain(0)
    page = client.get(f"/desk/units/{old.id}").text
    assert "Correct it" in page and f'value="{old.title}"' in page
    none = post(client, f"/desk/units/{old.id}/edit", title=old.title, text="Other words.", why=" ")
    assert "expected a reason" in none.text
    same = post(client, f"/desk/units/{old.id}/edit", title=old.title, text=old.text, why="so")
    assert "found nothing changed" in same.text
    done = post(client, f"/desk/units/{old.id}/edit", title=old.title, text="<b>Other</b> words.", why="wrong year")
    assert "takes the place of the old one" in done.text and "&lt;b&gt;Other&lt;/b&gt; words." in done.text
    assert f'In the place of <a href="/desk/units/{old.id}"' in done.text and "person:localhost" in done.text
    assert "wrong year" in client.get(f"/desk/units/{old.id}").text

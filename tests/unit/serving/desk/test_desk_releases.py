"""The desk's releases, its try-it box, and what it says of use."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.support.desk import (
    CANARY,
    GOOD,
    UNIT_HIT,
    DeskBench,
    desk,
    plain,
    post,
)
from tests.support.serving import browse
from wbrag.core.errors import WbragError
from wbrag.core.io.files import sha256_of
from wbrag.retrieval.trained import Part, TrainedRetriever
from wbrag.serving.desk.counters import quantile
from wbrag.serving.desk.highlights import marked
from wbrag.serving.desk.pages import age, figure, when
from wbrag.serving.desk.releases import canary_of
from wbrag.units.governance import Governance


def test_releases_are_told_apart(bench: DeskBench, client: TestClient) -> None:
    bench.current.refused["r0002"] = "expected 3 hits of its self-test, found 2"
    bench.current.release = bench.store.releases.get("r0001")
    page = client.get("/desk/releases").text
    assert re.search(r'id="r0001" class="serving"', page) and re.search(r'id="r0002" class=" refused"', page)
    assert "expected 3 hits of its self-test" in page and "+5.0 points" in page and "61.0% → 66.0%" in page
    compared = client.get("/desk/releases/compare?before=r0001&after=r0002").text
    assert "Subject 000" in compared and "Corvane gauge" not in compared
    assert client.get("/desk/releases/compare?before=r0001&after=r0009").status_code == 404


def test_the_search_of_a_release_is_shown_where_it_is_listed_compared_and_taken_back(
    bench: DeskBench, client: TestClient
) -> None:
    assert "Searched with" not in client.get("/desk/releases").text
    found = TrainedRetriever("e", "m", 2, (Part("adapter", "a", {}), Part("reranker", "r", {})), "2026-01-01")
    bench.store.path.joinpath("retrievers").mkdir()
    path = found.write(bench.store.retrievers)
    latest = bench.store.releases.get("r0002")
    newer = replace(latest, id="r0003", number=3, parent="r0002", retriever=f"retrievers/{path.name}")
    bench.store.releases.append(replace(newer, retriever_sha256=sha256_of(path)))
    assert f"Searched with adapter and reranker {found.name}" in client.get("/desk/releases").text
    compared = client.get("/desk/releases/compare?before=r0002&after=r0003").text
    assert f"Search: from the encoder alone to adapter and reranker {found.name}" in compared
    back = client.get("/desk/releases/r0002/rollback").text
    assert f"goes back from adapter and reranker {found.name} to the encoder alone" in back
    path.unlink()
    assert "which cannot be read" in client.get("/desk/releases").text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", CANARY.replace("0.61", "NaN"), CANARY.replace("[0.01, 0.09]", "3")]
)
def test_a_canary_that_cannot_be_read_is_none(bench: DeskBench, text: str) -> None:
    release = bench.store.releases.get("r0002")
    assert canary_of(release) is not None and canary_of(replace(release, canary=text)) is None


def test_a_rollback_is_shown_first_and_refused_once_something_newer_is_there(
    bench: DeskBench, client: TestClient
) -> None:
    asked = client.get("/desk/releases/r0001/rollback").text
    assert "Subject 000" in asked and "Keep r0002" in asked and len(bench.store.releases.all()) == 2
    late = post(client, "/desk/releases/r0001/rollback", seen="r0001")
    assert "found r0002: look again" in late.text and len(bench.store.releases.all()) == 2
    done = post(client, "/desk/releases/r0001/rollback", seen="r0002", why="Wrong years")
    last = bench.store.releases.all()[-1]
    assert (last.id, last.restores, last.by, last.note) == ("r0003", "r0001", "localhost", "Wrong years")
    assert "r0003 answers as r0001 did" in done.text


def test_a_rollback_says_who_closed_what_comes_back(bench: DeskBench, client: TestClient) -> None:
    governance = Governance(bench.store)
    governance.decide([GOOD.id], "retired", by="eve", why="<b>wrong year</b>")
    assert "Closed since" not in client.get("/desk/releases/r0001/rollback").text, "it has not left yet"
    assert "Published r0003" in post(client, "/desk/releases/publish").text
    asked = client.get("/desk/releases/r0001/rollback").text
    assert "Closed since" in asked and "retired by <b>eve</b>" in asked and "“&lt;b&gt;wrong year&lt;/b&gt;”" in asked
    post(client, "/desk/releases/r0001/rollback", seen="r0003")
    assert [(d.unit_id, d.by) for d in governance.revived(bench.store.releases.get("r0004"))] == [(GOOD.id, "eve")]


def test_publishing_adds_a_release_or_says_what_is_wrong(bench: DeskBench, client: TestClient) -> None:
    assert "Nothing has changed since r0002" in post(client, "/desk/releases/publish").text
    post(client, "/desk/decide", ids=[plain(1).id], state="approved")
    assert "+1</b> approved unit would join" in client.get("/desk/releases").text
    assert "Published r0003: 3 units." in post(client, "/desk/releases/publish", note="Subject 1").text
    assert bench.store.releases.all()[-1].note == "Subject 1"


def test_publishing_goes_on_when_the_browser_leaves(bench: DeskBench) -> None:
    ready = asyncio.Event()

    async def slowly(release: object) -> None:
        await ready.wait()

    bench.library.prepare = slowly  # type: ignore[method-assign]
    bench.store.decisions.decide([plain(1).id], "approved", by="anna", why="", policy="person")

    async def main() -> None:
        transport = httpx.ASGITransport(bench.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
            [token, *_] = re.findall(r'name="csrf" value="([^"]+)"', (await browser.get("/desk/ask")).text)
            sent = asyncio.create_task(browser.post("/desk/releases/publish", data={"csrf": token}))
            while not bench.app.state.background._tasks:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            sent.cancel()
            await asyncio.sleep(0.05)
            ready.set()
            assert await bench.app.state.background.ended(20)

    asyncio.run(main())
    assert bench.store.releases.all()[-1].id == "r0003"


def test_a_failed_publish_is_one_sentence(bench: DeskBench, client: TestClient) -> None:
    async def broken(release: object) -> None:
        raise WbragError("expected 3 hits, found 2 <b>")

    bench.library.prepare = broken  # type: ignore[method-assign]
    post(client, "/desk/decide", ids=[plain(1).id], state="approved")
    assert "expected 3 hits, found 2 &lt;b&gt;" in post(client, "/desk/releases/publish").text


def test_a_gateway_that_cannot_publish_or_count_says_so(bench: DeskBench) -> None:
    with browse(desk(bench.store, publishes=False, counts=False).app) as client:
        assert "This gateway cannot publish" in client.get("/desk/releases").text
        assert post(client, "/desk/releases/publish").status_code == 404
        assert "keeps no counters" in client.get("/desk/usage").text


def test_both_answers_stand_side_by_side(client: TestClient) -> None:
    page = post(client, "/desk/ask", question="Who designed the Corvane gauge?").text
    left, right = re.findall(r'<section class="sidecol".*?</section>', page, re.DOTALL)
    assert "unknown" in left and "Ada Thorn" in right and "0.830" in right and "r0002" in right
    assert right.count("only on this side") == 1 and "only on this side" not in left
    assert f'href="/desk/units/{UNIT_HIT.id}"' in right and "The two answers <b" in page


def test_one_side_that_fails_leaves_the_other(bench: DeskBench, client: TestClient) -> None:
    page = post(client, "/desk/ask", question="Who?", release="r0009").text
    assert "expected a release id, found &#39;r0009&#39;" in page and "unknown" in page
    assert post(client, "/desk/ask", question="Who?", task="poetry").status_code == 400
    assert "sidecol" not in post(client, "/desk/ask", question="  ").text
    longest = bench.store.config.serving.max_question_chars
    too_long = post(client, "/desk/ask", question="x" * (longest + 1))
    assert too_long.status_code == 400 and f"at most {longest} characters" in too_long.text


def test_use_is_counted_and_told(client: TestClient) -> None:
    page = client.get("/desk/usage").text
    assert re.search(r"Corvane gauge</a>\s*<span class=\"num\">3", page) and "1 of 2" in page
    unit = client.get(f"/desk/units/{GOOD.id}").text
    assert unit.index("Question 2?") < unit.index("Question 0?") and "▼ not helpful" in unit and "Wrong year" in unit
    live = client.get("/desk/usage/live").text
    assert live.startswith('<dl class="facts" id="live"') and "in flight" in live and "nan" not in live
    assert "Corvane yard" in client.get("/desk/review").text


@pytest.mark.parametrize("share, value", [(0.5, 0.1), (0.25, 0.05), (0.75, 0.55), (1.0, 1.0)])
def test_quantiles_are_interpolated(share: float, value: float) -> None:
    assert quantile([(0.1, 2.0), (1.0, 4.0), (math.inf, 4.0)], share) == pytest.approx(value)
    assert quantile([(0.1, 0.0), (math.inf, 3.0)], share) == 0.1 and math.isnan(quantile([(0.1, 0.0)], share))


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40), st.sampled_from(["yes", "no"])), max_size=6),
)
def test_marked_pieces_join_to_the_text(text: str, spans: list[tuple[int, int, str]]) -> None:
    pieces = marked(text, spans)
    assert "".join(piece for piece, _ in pieces) == text and all(piece for piece, _ in pieces)
    kinds = [kind for piece, kind in pieces for _ in piece]
    for start, end, kind in spans:
        if kind == "no":
            assert set(kinds[max(0, start) : max(0, end)]) <= {"no"}


def test_numbers_and_times_read_well() -> None:
    assert [figure(x) for x in (0.0, 1.0, 0.7, 0.6667, -0.25)] == ["0", "1", "0.7", "0.667", "−0.25"]
    assert when("2026-11-22T05:27:16.123+01:00") == "22 Nov 2026, 04:27" and when("") == "" and when("soon") == "soon"
    assert [age(s) for s in (5, 90, 7200, 200000)] == ["5 s", "1 min", "2 h", "2 days"]

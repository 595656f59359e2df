"""Who may see what: no reply to a key holds a trace of a passage, or of a unit, that is not for its groups."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.releases import D
from tests.support.restricted import PASSAGES, UNITS, Archive, archive_of, sees, visible
from tests.support.serving import browse, served
from wbrag.core.types import Unit
from wbrag.enrich.row_files import write_rows
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.serving.keys import Keys
from wbrag.units.checks.interface import CheckResult
from wbrag.units.examinations import Examination

SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_of(tmp_path)


@pytest.fixture
def url(archive: Archive) -> Iterator[str]:
    with served(archive.app()) as address:
        yield address


ASKS: dict[str, Callable[[httpx.Client], httpx.Response]] = {
    "search": lambda c: c.post("/v1/search", json={"query": "x", "k": 50}),
    "search base": lambda c: c.post("/v1/search", json={"query": "x", "k": 50, "release": "none"}),
    "qa": lambda c: c.post("/v1/chat/completions", json=chat("qa")),
    "chat": lambda c: c.post("/v1/chat/completions", json=chat("chat")),
    "streamed": lambda c: c.post("/v1/chat/completions", json={**chat("chat"), "stream": True}),
    "responses": lambda c: c.post("/v1/responses", json={"input": "x?", "wbrag": {"top_k": 50, "task": "chat"}}),
    "iter_retgen": lambda c: c.post("/v1/chat/completions", json={**chat("qa"), "model": "wbrag/iter_retgen"}),
}


def chat(task: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x?"}], "wbrag": {"task": task, "top_k": 50}}


@pytest.mark.parametrize("ask", ASKS)
def test_no_reply_holds_what_is_not_for_the_key(archive: Archive, url: str, ask: str) -> None:
    subsets = [frozenset(some) for size in range(3) for some in combinations(["hr", "legal"], size)]
    for number, groups in enumerate([None, *subsets]):
        key = archive.key(f"{ask.replace(' ', '-')}-{number}", "reader", ["*"] if groups is None else groups)
        with httpx.Client(base_url=url, headers=key, timeout=60) as client:
            reply = ASKS[ask](client)
        assert reply.status_code == 200, reply.text
        found, wanted = sees(reply.text), visible(groups)
        assert found <= wanted, f"{ask}: a key of {groups} was told of {found - wanted}"
        if ask == "search":
            assert found == wanted and len(reply.json()["hits"]) == len(wanted)
        assert not any(archive.units[name] in reply.text for name in UNITS if name not in wanted)


def test_a_filter_narrows_for_everybody(archive: Archive, url: str) -> None:
    with httpx.Client(base_url=url, headers=archive.key("all", "admin"), timeout=60) as client:

        def found(wanted: Any) -> set[str]:
            reply = client.post("/v1/search", json={"query": "x", "k": 50, "filter": wanted})
            assert reply.status_code == 200, reply.text
            return sees(reply.text)

        assert found({"lang": "de"}) == {"law", "either"}
        assert found({"lang": ["de", "en"], "year": {"gte": 2020}}) == {"hr", "law"}
        assert found({"lang": "en"}) == {"open", "hr", "of-open", "of-hr"}, "a unit has what its sources share"
        assert found({"year": 2020}) == {"hr", "law", "of-both"} and found({"other": 1}) == set()
        [hit] = client.post("/v1/search", json={"query": "x", "filter": {"year": 2019, "lang": "en"}, "k": 1}).json()[
            "hits"
        ]
        assert hit["metadata"] == {"lang": "en", "year": 2019}
        said = client.post(
            "/v1/chat/completions", json={**chat("qa"), "wbrag": {"filter": {"lang": "de"}, "top_k": 50}}
        )
        assert sees(said.text) == {"law", "either"}
        for wrong in ({"lang": None}, {"lang": {"near": 1}}, {"x" * 200: 1}):
            reply = client.post("/v1/search", json={"query": "x", "filter": wrong})
            assert reply.status_code == 400 and reply.json()["error"]["param"] == "filter"


def test_tools_of_an_agent_see_no_more(archive: Archive, url: str) -> None:
    key = archive.key("agent", "reader", ["hr"])

    async def scenario() -> None:
        async with (
            httpx.AsyncClient(headers=key) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            for name, arguments in (("search", {"query": "x", "k": 50}), ("ask", {"question": "x?"})):
                found = await client.call_tool(name, arguments)
                assert not found.is_error and sees(str(found.structured_content)) <= visible(frozenset(["hr"]))
            assert not (await client.call_tool("unit", {"id": archive.units["of-hr"]})).is_error
            hidden, unknown = archive.units["of-both"], "wb-none"
            said = [str((await client.call_tool("unit", {"id": id})).content[0]) for id in (hidden, unknown)]
            assert said[0].replace(hidden, unknown) == said[1], "one that may not be seen is as good as none"
            narrowed = await client.call_tool("search", {"query": "x", "k": 50, "filter": {"year": 2019}})
            assert sees(str(narrowed.structured_content)) == {"open", "of-open"}

    asyncio.run(scenario())


@pytest.fixture
def client(archive: Archive) -> Iterator[Any]:
    with browse(archive.app()) as client:
        yield client


def log_in(archive: Archive, client: Any, groups: Any, role: str = "reviewer") -> dict[str, str]:
    """The token of a session of a key of these groups."""
    token = Keys(archive.workspace.path).add(f"{role}-{'-'.join(groups) or 'none'}".replace("*", "all"), role, groups)
    client.cookies.clear()
    client.post("/desk/login", data={"key": token, "csrf": csrf(client)}, headers={"sec-fetch-site": "same-origin"})
    return {"csrf": csrf(client)}


def csrf(client: Any) -> str:
    page = client.get("/desk/login").text
    return str(page.partition('name="csrf" value="')[2].partition('"')[0])


GROUPS = [frozenset[str](), frozenset(["hr"]), frozenset(["legal"]), frozenset(["hr", "legal"])]


def told(text: str) -> set[str]:
    return {name for name in (*PASSAGES, *UNITS) if f"SECRET-{name} " in text or f"Title {name}" in text}


@pytest.mark.parametrize("groups", GROUPS)
def test_the_desk_shows_what_the_key_may_see(archive: Archive, client: Any, groups: frozenset[str]) -> None:
    """Lists, counts, units, sources and answers; what a check or a decision said of a hidden one stays hidden too."""
    quoted = "“ours” against “SECRET-hr is here.” in passage hr (Title hr)"
    results = tuple(CheckResult(name, False, 1.0, 0.5, quoted) for name in ("conflict", "novelty", "later"))
    made = [Examination(unit_id=id, at="2026", fingerprint="f", results=results) for id in archive.units.values()]
    archive.workspace.layout.results.log.append(made)
    w = archive.workspace
    w.decide([archive.units["of-open"]], "retired", by="anna", why=quoted)
    w.decide([archive.units["of-open"]], "approved", by="anna", why=quoted)
    log_in(archive, client, groups)
    mine = visible(groups)
    for address in (
        "/desk?state=all",
        "/desk?state=all&q=SECRET",
        "/desk?state=approved",
        "/desk?state=all&check=conflict",
    ):
        page = client.get(address)
        assert page.status_code == 200 and told(page.text) <= mine, told(page.text) - mine
        units = {name for name in UNITS if archive.units[name] in page.text}
        assert units == mine & set(UNITS), "and none of the others"
        assert f'All <span class="num">{len(units)}</span>' in page.text
    for name, id in archive.units.items():
        page = client.get(f"/desk/units/{id}")
        assert page.status_code == (200 if name in mine else 404) and told(page.text) <= mine
    unknown = client.get("/desk/units/wb-none")
    hidden = client.get(f"/desk/units/{archive.units['of-none']}")
    assert hidden.text.replace(archive.units["of-none"], "wb-none") == unknown.text
    for address in (
        "/desk/review",
        "/desk/releases",
        "/desk/usage",
        "/desk/usage/live",
        "/desk/releases/compare?before=none&after=r0001",
    ):
        page = client.get(address)
        assert page.status_code == 403 and "it needs a key of all" in page.text and not told(page.text)


@pytest.mark.parametrize("groups", GROUPS)
def test_a_question_at_the_desk_finds_what_the_key_may_see(
    archive: Archive, client: Any, groups: frozenset[str]
) -> None:
    form = log_in(archive, client, groups)
    page = client.post("/desk/ask", data={**form, "question": "x?", "task": "qa"}, headers=SAME)
    assert page.status_code == 200 and told(page.text) and told(page.text) <= visible(groups)


def test_a_decision_is_over_what_the_key_may_see(archive: Archive, client: Any) -> None:
    form = log_in(archive, client, ["hr"])
    hidden, mine = archive.units["of-both"], archive.units["of-hr"]
    for ids in ([hidden], [mine, hidden]):
        sent = client.post("/desk/decide", data={**form, "state": "retired", "ids": ids, "why": "old"}, headers=SAME)
        assert f"found &#39;{hidden}&#39;" in sent.text
    states = archive.workspace.layout.decisions.states
    assert set(states().values()) == {"approved"}
    matching = {**form, "state": "retired", "matching": "2", "where": "state=all", "why": "old"}
    client.post("/desk/decide", data=matching, headers=SAME)
    changed = {name for name, id in archive.units.items() if states()[id] == "retired"}
    assert changed == {"of-open", "of-hr"}, "all that match are all that are seen"


def test_whoever_sees_everything_has_the_whole_desk(archive: Archive, client: Any) -> None:
    log_in(archive, client, ["*"])
    for address in ("/desk?state=all", "/desk/review", "/desk/releases", "/desk/usage"):
        assert client.get(address).status_code == 200
    assert told(client.get("/desk?state=all").text) >= set(UNITS)


def test_a_list_that_changed_counts_from_the_next_release_on(archive: Archive, tmp_path: Path) -> None:
    w = archive.workspace
    row = {
        "id": "open",
        "contents": "Title open\nSECRET-open is here.",
        "groups": ["board"],
        "lang": "en",
        "year": 2019,
    }
    (tmp_path / "changed.jsonl").write_text(json.dumps(row) + "\n")
    assert w.update_corpus(tmp_path / "changed.jsonl", metadata=["lang", "year"]).changed == 1
    w.index()
    second = w.publisher.propose()
    assert second.id == "r0002" and second.base_sha256 != archive.release.base_sha256
    assert second.writeback_sha256 != archive.release.writeback_sha256, "units inherit what their sources are now"
    later = Archive(w, w.releases.append(second), archive.units)
    with served(later.app()) as address:
        asked = {"query": "x", "k": 50}
        reply = httpx.post(f"{address}/v1/search", json=asked, headers=later.key("new", "reader"))
        assert sees(reply.text) == set(), "what was for everybody is for the board alone, and its units too"
        asked |= {"release": "r0001"}
        for name, groups, status in (("some", ["hr"], 403), ("all", ["*"], 200)):
            reply = httpx.post(f"{address}/v1/search", json=asked, headers=later.key(name, "reader", groups))
            assert reply.status_code == status, "an earlier release lets see what was allowed in its day"


def test_old_keys_see_what_is_for_everybody(archive: Archive) -> None:
    keys = Keys(archive.workspace.path)
    keys.add("old", "reader")
    [row] = json.loads(keys.path.read_text())
    assert "groups" not in row and keys.all()[0].sees == frozenset()


def test_a_corpus_that_names_no_groups_any_more_opens_nothing(archive: Archive, tmp_path: Path) -> None:
    """Of a unit whose source is gone nobody knows for whom that was: a workspace remembers that some had groups."""
    w = archive.workspace
    (tmp_path / "open.jsonl").write_text(
        json.dumps({"id": "open", "contents": "Title open\nSECRET-open is here."}) + "\n"
    )
    w.ingest_corpus(tmp_path / "open.jsonl")
    with browse(archive.app()) as client:
        log_in(archive, client, [])
        assert told(client.get("/desk?state=all").text) == {"open", "of-open"}
    w.index()
    later = Archive(w, w.releases.append(w.publisher.propose()), archive.units)
    with served(later.app()) as address:
        asked = {"query": "x", "k": 50}
        reply = httpx.post(f"{address}/v1/search", json=asked, headers=later.key("some", "reader"))
        assert sees(reply.text) == {"open", "of-open"}
        reply = httpx.post(
            f"{address}/v1/search", json=asked | {"release": "r0001"}, headers=later.key("other", "reader")
        )
        assert reply.status_code == 403
    with browse(later.app()) as client:
        form = log_in(later, client, ["hr"])
        asked = {**form, "question": "x?", "task": "qa", "release": "r0001"}
        assert client.post("/desk/ask", data=asked, headers=SAME).status_code == 403


def test_questions_and_parents_are_not_told(archive: Archive, client: Any) -> None:
    """They are of units and of users whose documents may be others."""
    w = archive.workspace
    parts = {"config_fingerprint": "run", "parent": archive.units["of-both"]}
    made = Unit("Unit later", "SECRET-open again.", ("q7",), (("open", "h"),), (), **parts)  # type: ignore[arg-type]
    w.shelf.add([made], np.eye(1, D, dtype=np.float32), encoder_fingerprint(w.config.encoder), 0.9999)
    write_rows(w.path / "verdicts" / "run", "enrich", [{"id": "q7", "question": "What of SECRET-hr ?"}])
    log_in(archive, client, ["legal"])
    page = client.get(f"/desk/units/{made.id}").text
    assert "Unit later" in page and "SECRET-hr" not in page and archive.units["of-both"] not in page
    log_in(archive, client, ["*"])
    page = client.get(f"/desk/units/{made.id}").text
    assert "SECRET-hr" in page and archive.units["of-both"] in page

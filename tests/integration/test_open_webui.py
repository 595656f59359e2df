"""Open WebUI over the endpoint, driven in Chromium: a conversation with a follow-up, its sources, its housekeeping.

It takes gigabytes, so it is not installed for this: `OPEN_WEBUI=/path/to/open-webui pytest -m slow` names one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.desk import BASE_HIT, UNIT_HIT, DeskBench
from tests.support.processes import free_port
from tests.support.serving import served, until
from tests.support.talking import FIRST, FOLLOW_UP, QUERY
from tests.support.talking import bench as bench

EXECUTABLE = os.environ.get("OPEN_WEBUI", "")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(
        not EXECUTABLE, reason="OPEN_WEBUI names no open-webui: pip install open-webui, in an environment"
    ),
]
SETTINGS = {
    "WEBUI_AUTH": "False",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ENABLE_OLLAMA_API": "False",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "RAG_EMBEDDING_ENGINE": "openai",
    "WEBUI_SECRET_KEY": "x",
    "DO_NOT_TRACK": "true",
}


@pytest.fixture
def front_end(bench: DeskBench, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with served(bench.app) as url:
        where = {"OPENAI_API_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none", "RAG_OPENAI_API_BASE_URL": f"{url}/v1"}
        command = [EXECUTABLE, "serve", "--host", "127.0.0.1", "--port", str(port)]
        environment = {**os.environ, **SETTINGS, **where, "DATA_DIR": str(tmp_path / "data")}
        (tmp_path / "data").mkdir()
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or answers(f"{address}/health"), 300)
            assert process.poll() is None, (tmp_path / "log").read_text()[-4000:]
            yield address
        finally:
            family = [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait(60)


def answers(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(address, timeout=5).status_code == 200
    return False


@pytest.fixture
def page(front_end: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(60_000)
        opened.goto(front_end, wait_until="domcontentloaded")
        opened.wait_for_selector("#chat-input")
        news = opened.get_by_text("Okay, Let's Go!")  # what is new in this version, once
        with suppress(Exception):
            news.click(timeout=10_000)
        yield opened
        browser.close()


def say(page: Page, text: str) -> None:
    page.click("#chat-input")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def test_a_conversation_with_sources(bench: DeskBench, page: Page) -> None:
    say(page, FIRST[0]["content"])
    expect(page.get_by_role("button", name="2 Sources")).to_have_count(1, timeout=60_000)
    say(page, FOLLOW_UP["content"])
    expect(page.get_by_role("button", name="2 Sources")).to_have_count(2, timeout=60_000)
    said = page.inner_text("body")
    # `[1]` is the document that is cited first, and the front end shows its title in the number's place.
    assert (
        said.count(f"It was sold in 1911 \n{BASE_HIT.title}\n, they say. Ada Thorn designed it \n{UNIT_HIT.title}\n.")
        == 2
    )
    asked = [query for query, _, _ in bench.library.calls]
    assert asked == [FIRST[0]["content"], QUERY], "the follow-up stands alone, and titles and tags are not searched for"
    bench.app.state.service.recorder.flush_s = 0
    assert len(bench.app.state.service.recorder.served.rows) <= 2

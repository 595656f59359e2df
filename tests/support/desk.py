"""A workspace with units in every state, made through the shelf, and the desk over it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.support.serving import ScriptedStream, Settled, TableLibrary
from wbrag.core.config import load
from wbrag.core.tasks import task
from wbrag.core.types import Answer, Evidence, Hit, Passage, Unit
from wbrag.data.parts import part_of
from wbrag.methods import Rag, method
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest
from wbrag.serving.adapters import PinnedRetriever
from wbrag.serving.api.app import create_app
from wbrag.serving.desk.counters import counters_of
from wbrag.serving.desk.pages import refusal
from wbrag.serving.desk.routes import desk_router
from wbrag.serving.endpoint_models import EndpointModels
from wbrag.units.checks import CheckResult, Span
from wbrag.units.correct import correct
from wbrag.units.governance import Governance
from wbrag.units.library import Library
from wbrag.units.publisher import Publisher
from wbrag.units.releases import Release
from wbrag.units.usage import Feedback, Served
from wbrag.workspace import Workspace

HOSTILE = "<script>alert(1)</script>"
NOTE = Passage("n1", "Note 1", "The Corvane gauge was drawn by Ada Thorn. It rained. It was sold in 1911.", "archive")
EVIDENCE = "The Corvane gauge was drawn by Ada Thorn."
GOOD = Unit(
    "Corvane gauge",
    "The Corvane gauge was designed by Ada Thorn.",
    ("q1",),
    ((NOTE.id, NOTE.content_hash),),
    (Evidence(NOTE.id, EVIDENCE),),
    config_fingerprint="f1",
    created_at="2026-01-02T03:04:05+00:00",
)
INVENTED = replace(GOOD, title="Corvane yard", text="The yard opened in 1953. It was sold in 1911.")
LOST = replace(
    GOOD,
    title=HOSTILE,
    text="javascript:alert(2) and <img src=x onerror=alert(3)>",
    sources=((NOTE.id, "0" * 64), ("n9", "1" * 64)),
    evidence=(Evidence(NOTE.id, "It was sold in 1900."), Evidence("n9", "It stood by the sea.")),
)
PASSED = (
    CheckResult("novelty", True, 0.4, 0.98, "nothing near it"),
    CheckResult("leakage", True, None, None, "not measured"),
)
FAILED = (
    CheckResult("grounding", False, 0.5, 0.7, "no source holds “1953”", (Span(0, 24, False), Span(25, 45, True))),
    *PASSED,
)
BASE_HIT = Hit("n1", NOTE.title, NOTE.text, 0.61)
UNIT_HIT = Hit(GOOD.id, GOOD.title, GOOD.text, 0.83, "writeback")


def opened(folder: Path) -> Workspace:
    return Workspace(config=load(workspace=str(folder), checks={"policy": "manual"}, serving={"releases": "any"}))


def plain(number: int) -> Unit:
    return replace(GOOD, title=f"Subject {number:03d}", text=f"Subject {number} is made of oak.")


def workspace(folder: Path, others: int = 4) -> Workspace:
    """GOOD, INVENTED (failed a check), LOST (not checked) and `others` plain candidates; no release yet."""
    store = opened(folder)
    fingerprint = encoder_fingerprint(store.config.encoder)
    base = folder / "index" / "base-x.json"
    base.parent.mkdir(parents=True)
    digest = Manifest(fingerprint, "embedded", 8, "SQfp16", ()).write(base)
    pointer = {"manifest": "index/base-x.json", "sha256": digest, "corpus": "c"}
    (folder / "index" / "base.json").write_text(json.dumps(pointer))
    (folder / "corpus").mkdir()
    pq.write_table(part_of([NOTE]), folder / "corpus" / "part-0.parquet")
    (folder / "verdicts" / "f1").mkdir(parents=True)
    asked = pa.Table.from_pylist([{"id": "q1", "question": "Who designed the Corvane gauge?"}])
    pq.write_table(asked, folder / "verdicts" / "f1" / "part-0.parquet")
    units = [GOOD, INVENTED, LOST, *(plain(n) for n in range(others))]
    vectors = np.random.default_rng(0).normal(size=(len(units), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store.shelf.add(units, vectors, fingerprint, 1.1)
    found = {INVENTED.id: FAILED, **{u.id: PASSED for u in units if u not in (INVENTED, LOST)}}
    store.results.add(found, dict.fromkeys(found, "fp"))
    return store


def two_releases(store: Workspace) -> tuple[Release, Release]:
    """r0001 holds GOOD, r0002 also Subject 000, with a canary's report."""
    governance = Governance(store.layout)
    found = []
    for unit, note in ((GOOD, "The first"), (plain(0), "One more")):
        governance.decide([unit.id], "approved", by="anna", why="")
        found.append(
            store.releases.append(replace(store.publisher.propose(note, by="anna"), canary=CANARY if found else ""))
        )
    return found[0], found[1]


CANARY = json.dumps(
    {
        "examples": "demo/dev",
        "against": "r0001",
        "n": 200,
        "before": 0.61,
        "after": 0.66,
        "gain": 0.05,
        "ci95": [0.01, 0.09],
        "p": 0.012,
        "wins": 14,
        "losses": 4,
        "passed": True,
    }
)


def used(store: Workspace, answers: int = 3) -> None:
    """GOOD among the hits of `answers` answers, the last one rated down with a word."""
    rows = [
        Served(
            f"r{n}",
            f"2026-02-0{n + 1}T00:00:00+00:00",
            "app",
            "r0001",
            "naive",
            "qa",
            f"Question {n}?",
            "Ada Thorn",
            (GOOD.id, NOTE.id),
            ("writeback", "base"),
            (0.8, 0.6),
            0.2,
        )
        for n in range(answers)
    ]
    store.usage.add(rows, [Feedback(rows[-1].request_id, "2026-02-09T00:00:00+00:00", "app", -1, "Wrong year")])


@dataclass
class DeskBench:
    app: FastAPI
    store: Workspace
    current: Settled
    library: TableLibrary
    generator: ScriptedStream


def desk(store: Workspace, *, publishes: bool = True, counts: bool = True) -> DeskBench:
    """The gateway with its desk; the model knows who designed the gauge only where a unit says so."""

    def reply(messages: object, sampling: object) -> str:
        return "Ada Thorn" if "designed by Ada Thorn" in str(messages) else "unknown"

    generator = ScriptedStream(reply)
    library = TableLibrary({"none": (BASE_HIT,)}, default=(UNIT_HIT, BASE_HIT), dimension=8)
    releases = store.releases.all()
    current = Settled(releases[-1] if releases else store.release("none"))
    app = create_app(store.layout, library, generator, current)

    async def ask(question: str, release: str, name: str, sees: object) -> Answer:
        rag = Rag(generator, PinnedRetriever(library, store.release(release)), task(name))
        return await method("naive")(question, rag, None)

    models = EndpointModels(store.layout, library, generator)
    units = Library(store.layout, models)
    publisher = Publisher(units, models)

    async def publish(by: str, note: str) -> Release:
        return await models.in_thread(lambda: publisher.publish(note, by=by))

    async def edit(id: str, title: str, text: str, by: str, why: str) -> Unit:
        return await models.in_thread(lambda: correct(units, id, title=title, text=text, by=by, why=why))

    router = desk_router(
        store.layout,
        current,
        ask=ask,
        publish=publish if publishes else None,
        counters=(lambda: counters_of(app.state.service)) if counts else None,
        correct=edit if publishes else None,
    )
    app.include_router(router)
    app.state.page_error = refusal
    return DeskBench(app, store, current, library, generator)


def post(client: TestClient, path: str, **fields: object) -> httpx.Response:
    """Send a form as a page of the desk would."""
    [token, *_] = re.findall(r'name="csrf" value="([^"]+)"', client.get("/desk/ask").text)
    return client.post(path, data={"csrf": token, **fields})


def rows(page: httpx.Response) -> list[str]:
    return re.findall(r'data-unit="([^"]+)"', page.text)


PAGES = [
    "/desk",
    "/desk?state=all",
    "/desk?q=script",
    f"/desk/units/{GOOD.id}",
    f"/desk/units/{LOST.id}",
    "/desk/releases",
    "/desk/releases/compare?before=none&after=latest",
    "/desk/releases/r0001/rollback",
    "/desk/ask",
    "/desk/review",
    "/desk/usage",
]


# Texts whose contrast with what is painted behind them is below 4.5 (WCAG AA); colours are read off a canvas.
CONTRASTS = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const weak = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen, .off, .skip, svg, option, kbd")) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const [front, back] = [light(paint([...behind, getComputedStyle(element).color])), light(paint(behind))];
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (contrast < 4.5) weak.push([element.outerHTML, contrast]);
  }
  return weak;
}"""

"""Whole enrichments against an endpoint that misbehaves by script."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.openai_server import Step, cut, error, hang, ok, raw, reset
from tests.support.outcome import assert_same, rows_of
from tests.support.pipeline import ITEMS
from wbrag.core.errors import WbragError
from wbrag.executor.ray.dispatch import FULL
from wbrag.executor.ray.row_worker import UNANSWERED
from wbrag.workspace import Workspace

if TYPE_CHECKING:  # a plugin is imported by pytest
    from tests.support.enriching import Place

pytestmark = [pytest.mark.integration, pytest.mark.drill]
pytest_plugins = ["tests.support.enriching"]

SEED = 20261122
FAULTS = [
    error(429, retry_after_ms="20"),
    error(429, retry_after="0"),
    error(500, "out of memory"),
    error(503, "no worker", retry_after="0"),
    raw("<html>Bad gateway</html>", "text/html"),
    raw('{"id": "chatcmpl-1", "choices": [{"ind'),
    raw(json.dumps({"result": "k7"})),
    raw(json.dumps({"choices": []})),
    raw(json.dumps({"error": {"message": "worker lost"}})),
    cut(),
    reset(),
    hang(),
]


def faults(share: float, seed: int) -> list[Step]:
    """A script in which so many of the requests go wrong, each kind of fault among them."""
    drawn = random.Random(seed)
    steps = [drawn.choice(FAULTS) if drawn.random() < share else ok() for _ in range(4000)]
    for place, fault in enumerate(FAULTS):
        steps[10 + 5 * place] = fault
    return steps


def test_a_bad_day_at_the_endpoint_changes_no_verdict(folder: Path, place: Place, unbroken: Path) -> None:
    print(f"seed {SEED}")
    place.server.script = faults(0.05, SEED)
    assert place.enrich(folder, max_retries=6, timeout_s=1.0) == (0, 0)
    assert len(place.server.requests) > 10 + 5 * len(FAULTS), "every kind of fault was met"
    assert_same(folder / "verdicts", unbroken)


def test_what_stays_broken_is_quarantined_and_repeated_alone(
    folder: Path, place: Place, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint fails for every fourth item, whatever is asked about it."""
    broken = {f"q{n:02d}": ITEMS[n] for n in range(0, len(ITEMS), 4)}

    def step(number: int, body: dict[str, object]) -> Step:
        mine = any(f"code of {name}?" in str(body["messages"]) for name in broken.values())
        return error(500, "no such page") if mine else ok()

    with monkeypatch.context() as patched:
        patched.setattr(place.server, "step", step)
        assert place.enrich(folder) == (0, len(broken))
    rows = rows_of(folder / "verdicts")
    assert {id for id, row in rows.items() if row["error"]} == set(broken)
    assert all("HTTP 500" in rows[id]["error"] and "no such page" in rows[id]["error"] for id in broken)
    assert_same(folder / "verdicts", unbroken, but=broken)

    place.server.requests.clear()
    assert place.enrich(folder) == (len(ITEMS) - len(broken), 0)
    asked = {name for r in place.server.requests for name in ITEMS if f"code of {name}?" in str(r["messages"])}
    assert asked == set(broken.values()), "only these were asked about again"
    assert_same(folder / "verdicts", unbroken)


def test_an_endpoint_that_goes_away_stops_the_run_early(folder: Path, place: Place) -> None:
    """120 questions, and after 300 requests every one is answered 503."""
    asked = [
        {
            "id": f"m{n:03d}",
            "question": f"{n}: what is the code of {item}?",
            "golden_answers": [f"k{ITEMS.index(item)}"],
        }
        for n, item in enumerate(ITEMS * 5)
    ]
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    Workspace(folder).ingest_examples(folder / "many.jsonl", "toy", "many")
    place.server.script = [ok()] * 300 + [error(503, "gone")] * 10_000
    with pytest.raises(WbragError, match="found none for 8 rows one after the other") as caught:
        place.enrich(folder, "toy/many", block_rows=8, max_retries=2, concurrency=16)
    assert "\n" not in str(caught.value) and "HTTP 503" in str(caught.value)
    finished = {id for id, row in rows_of(folder / "verdicts").items() if not row["error"]}
    in_vain = len(place.server.requests) - 300
    print(f"{len(finished)} rows finished, {in_vain} requests in vain")
    under_way = max(2, FULL * 16 // 8) * 8  # rows, when the endpoint went away; each has two calls, tried three times
    assert finished and in_vain <= 6 * (under_way + UNANSWERED) < 6 * (120 - len(finished)), "not all the rest"

    place.server.script = []
    assert place.enrich(folder, "toy/many", block_rows=8) == (len(finished), 0)
    assert len(rows_of(folder / "verdicts")) == 120

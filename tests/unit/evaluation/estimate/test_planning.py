"""`wbrag plan`: figures with their origins, and what is assumed said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wbrag.cli.main import main
from wbrag.core.config import load
from wbrag.core.errors import UsageError
from wbrag.evaluation.estimate import PlanRequest, plan, throughput

NQ = PlanRequest(examples=79_168, passages=21_000_000, model="Gemma-3-12B", gpus=2, dimension=768)


def rows(asked: PlanRequest = NQ, **settings: Any) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in plan(asked, load(**settings))}


def test_the_papers_own_run() -> None:
    """79,168 questions, 12,295 accepted: some 220K calls without what wbrag adds, in half an hour on two H200."""
    found = rows(enrich={"round_trip": False, "lossless_skip": False, "witnesses": 0})
    assert found["calls"]["value"] == pytest.approx(2 * 79_168 + 7 * 12_295, rel=0.002)
    found = rows(enrich={"witnesses": 0})
    assert found["enrichment on 2"]["value"] == pytest.approx(0.5, rel=0.1)
    assert found["index in memory"]["value"] == pytest.approx(21_000_000 * 768 * 2, rel=1e-6)
    assert found["index in memory"]["from"].startswith("exact")


def test_what_nobody_measured_is_called_assumed() -> None:
    for row in rows(PlanRequest(100, 1000, "Llama-3.1-8B", dimension=768)).values():
        measured = ("formula", "exact", "paper", "assumed", "measured", "given")
        assert row["from"].startswith(measured), row
    assert throughput(PlanRequest(1, 1, "Gemma-3-12B")).origin.startswith("paper")
    scaled = throughput(PlanRequest(1, 1, "meta-llama/Llama-3.1-8B-Instruct"))
    assert scaled.origin.startswith("assumed")
    assert scaled.value == pytest.approx(61 * 12 / 8)
    assert throughput(PlanRequest(1, 1, "any", calls_per_second=7)).value == 7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "my-model"}, "--calls-per-second"),
        ({"device": "abacus"}, "--calls-per-second"),
        ({"workload": "nqq"}, "'nq'"),
        ({"passages": 0}, "from 1"),
    ],
)
def test_what_it_cannot_know_it_asks_for(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rows(PlanRequest(**{"examples": 10, "passages": 10, "model": "Some-8B", **options}))


def test_an_unknown_encoder_needs_its_dimension() -> None:
    with pytest.raises(UsageError, match="--dimension"):
        rows(PlanRequest(10, 10, "Some-8B"), encoder={"model": "someone/else"})


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "plan --examples 1000 --corpus 5000 --model Some-8B --price-per-gpu-hour 4 --json --workspace"
    assert main([*line.split(), str(tmp_path / "w")]) == 0
    found = {row["what"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert found["enrichment, cost"] == pytest.approx(found["enrichment, GPU hours"] * 4, abs=0.01)
    assert not (tmp_path / "w").exists()

"""`make demo`'s own result with the embedded model under vLLM, asserted: the whole job, and one of few questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline import wbrag
from wbrag.workspace import Workspace

pytestmark = pytest.mark.integration
FEW, WHOLE = ("--limit", "12"), ()
whole = pytest.mark.parametrize("demo", [pytest.param(WHOLE, marks=pytest.mark.slow, id="whole")], indirect=True)
few_or_whole = pytest.mark.parametrize(
    "demo",
    [pytest.param(FEW, id="few questions"), pytest.param(WHOLE, marks=pytest.mark.slow, id="whole")],
    indirect=True,
)


@pytest.fixture(scope="module")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo")
    process = wbrag("demo", *request.param, "--workspace", str(folder), "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    return folder, json.loads(out)


@whole
def test_the_gain_is_real(demo: tuple[Path, dict[str, Any]]) -> None:
    """What README states: beyond chance over the base library and over both controls."""
    _, result = demo
    for gain in ("gain", "gain_reworded", "gain_over_control_raw", "gain_over_control_copies"):
        assert result[gain] > 0 and result[f"{gain}_p"] < 0.05 and result[f"{gain}_ci95"][0] > 0, gain
    assert result["p"] == result["gain_p"]
    assert result["closed_book"] < result["base"] < result["writeback"]
    assert result["units"] > 0 and result["enrich"]["quarantined"] == 0
    assert result["enrich"]["calls"]["saved"] > 0


@few_or_whole
def test_the_page_and_the_release_are_there(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, result = demo
    page = Path(result["page"]).read_text(encoding="utf-8")
    assert "<html" in page and f"{100 * result['writeback']:.1f}" in page
    with Workspace(folder) as workspace:
        assert [r.action for r in workspace.releases.all()] == ["publish"]
        unit = workspace.shelf.read()[0].unit
        hits = workspace.search(unit.title)
        assert "writeback" in {hit.origin for hit in hits} and [h.score for h in hits] == sorted(
            (h.score for h in hits), reverse=True
        )


@few_or_whole
def test_a_second_run_repeats_nothing(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, first = demo
    process = wbrag("enrich", "--examples", "demo/train", "--workspace", str(folder), "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    second = json.loads(out)
    assert second["resumed"] == second["examples"] and second["units_new"] == 0
    assert second["verdicts_sha256"] == first["enrich"]["verdicts_sha256"]

"""The shelf from the command line: every decision, what was decided, and who did it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.publishing import shelve
from wbrag.cli.main import main
from wbrag.workspace import Workspace


def said(capsys: pytest.CaptureFixture[str], w: Workspace, *arguments: str) -> Any:
    assert main([*arguments, "--workspace", str(w.path), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_units_are_listed_decided_on_and_audited(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good, bad = shelve(workspace, "right", 0), shelve(workspace, "wrong", 1, passed=False)
    listed = {row["id"]: row for row in said(capsys, workspace, "units", "list")}
    assert (listed[good]["state"], listed[good]["checks"], listed[bad]["checks"]) == (
        "candidate",
        "passed",
        "grounding",
    )
    assert [row["id"] for row in said(capsys, workspace, "units", "list", "--failed")] == [bad]

    said(capsys, workspace, "units", "approve", good, "--why", "read it", "--by", "ana")
    assert said(capsys, workspace, "units", "reject", bad, "--why", "invented", "--by", "ana")["decided"] == 1
    assert [row["id"] for row in said(capsys, workspace, "units", "list", "--state", "rejected")] == [bad]
    shown = said(capsys, workspace, "units", "show", bad)
    assert shown["state"] == "rejected" and "ana: candidate to rejected, invented" in shown["history"][0]
    assert said(capsys, workspace, "units", "reconsider", bad, "--why", "again") == {"decided": 1, "state": "candidate"}

    assert main(["units", "retire", bad, "--why", "x", "--workspace", str(workspace.path)]) == 2
    assert "expected" in capsys.readouterr().err
    assert {task["unit_id" if "unit_id" in task else "id"] for task in said(capsys, workspace, "review")} == {bad}

    file = tmp_path / "audit.jsonl"
    assert said(capsys, workspace, "audit", "--out", str(file))["changes"] == len(file.read_text().splitlines())
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(c["by"], c["action"]) for c in told if c["what"] == good and c["by"] == "ana"] == [
        ("ana", "candidate to approved")
    ]


def test_releases_are_compared_and_rolled_back(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    first = shelve(workspace, "right", 0)
    workspace.approve_what_passed()
    one = workspace.releases.append(workspace.propose("one", by="ana"))
    second = shelve(workspace, "right too", 1)
    workspace.approve_what_passed()
    two = workspace.releases.append(workspace.propose("two", by="ana"))
    change = said(capsys, workspace, "releases", "compare", one.id, two.id)
    assert [(row["change"], row["id"]) for row in change] == [("added", second)]
    assert [row["id"] for row in said(capsys, workspace, "releases", "compare", "none", one.id)] == [first]
    back = said(capsys, workspace, "releases", "rollback", one.id, "--why", "too early", "--by", "ben")
    assert (back["number"], back["restores"], back["by"], back["note"]) == (3, one.id, "ben", "too early")

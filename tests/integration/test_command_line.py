"""Every verb that works on a workspace, in one `wbrag run` on the real stack: Ray, FAISS, encoder and endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.openai_server import OpenAIServer
from tests.support.outcome import one_sentence
from tests.support.pipeline import ITEMS, wbrag

pytestmark = pytest.mark.integration
SUITE = {
    "name": "toy",
    "examples": {"toy/test": {"path": "train.jsonl"}},
    "sets": {"toy": {"train": "toy/train", "test": "toy/test", "train_limit": 4, "test_limit": 4}},
}


def test_the_life_of_a_workspace(data: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    units, run, suite = tmp_path / "units.jsonl", tmp_path / "run.trec", tmp_path / "toy.yaml"
    suite.write_text(yaml.safe_dump(SUITE), encoding="utf-8")
    lines = {
        "corpus": f"ingest corpus {data}/corpus.jsonl",
        "examples": f"ingest examples {data}/train.jsonl --name toy --split train",
        "index": "index",
        "first": "enrich --examples toy/train --limit 12",
        "listed": "units list",
        "checked": "check",
        "one": "publish",
        "again": "enrich --examples toy/train",
        "two": "publish --note all --by ana",
        "evaluated": f"evaluate --examples toy/train --release latest --against none --trec {run}",
        "hits": f"search 'What is the code of {ITEMS[0]}?'",
        "asked": f"ask 'What is the code of {ITEMS[0]}?'",
        "answers": f"export answers --examples toy/train --format trec --out {tmp_path / 'naive.run'}",
        "exported": f"export units --format flashrag --out {units}",
        "fresh": "refresh",
        "learned": "learn",
        "work": "review",
        "back": "releases rollback r0001 --why test",
        "releases": "releases list",
        "difference": "releases compare r0001 r0002",
        "audit": "audit",
        "bench": f"bench --suite {suite} --data {data}",
        "keys": "keys add --name ana --role admin",
        "plan": "plan --examples 1000 --corpus 100000 --model Llama-3.1-8B",
    }
    job = tmp_path / "job.txt"
    job.write_text("\n".join(lines.values()), encoding="utf-8")
    where = ("--workspace", str(tmp_path / "w"), "--json", "--learn.enabled=true")
    process = wbrag("run", str(job), *where, server=endpoint)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    found: dict[str, Any] = dict(zip(lines, map(json.loads, out.splitlines()), strict=True))
    assert found["corpus"]["rows"] == found["examples"]["rows"] == found["index"]["passages"] == len(ITEMS)
    assert found["first"]["examples"] == 12 and found["first"]["accepted"] == len(found["listed"]) > 0
    assert found["checked"]["checked"] == 0, "what was examined under the same settings was examined again"
    assert found["again"]["resumed"] == 12 and found["again"]["accepted"] > found["first"]["accepted"]
    assert (found["one"]["id"], found["two"]["id"]) == ("r0001", "r0002")
    assert found["two"]["units"] > found["one"]["units"] > 0 and found["two"]["by"] == "ana"
    assert found["evaluated"]["n"] == len(ITEMS) and found["evaluated"]["gain"] >= 0
    assert len({line.split()[0] for line in run.read_text().splitlines()}) == len(ITEMS)
    assert found["answers"]["files"] == [str(tmp_path / "naive.run"), str(tmp_path / "naive.qrels")]
    assert ITEMS[0] in json.dumps(found["hits"]) and "k0" in json.dumps(found["asked"])
    assert units.read_text(encoding="utf-8").count("\n") == found["exported"]["units"] == found["two"]["units"]
    assert found["fresh"]["stale"] == 0 and found["learned"]["candidates"] == 0
    assert found["back"]["restores"] == "r0001" and len(found["releases"]) == 3
    added = [line["id"] for line in found["difference"] if line["change"] == "added"]
    assert len(added) == found["two"]["units"] - found["one"]["units"]
    assert any(change["by"] == "ana" for change in found["audit"])
    assert {row["arm"] for row in found["bench"]["scores"]} == {"closed_book", "base", "writeback"}
    assert all((row["n"], row["errors"]) == (4, 0) for row in found["bench"]["scores"])
    assert found["keys"]["name"] == "ana" and found["plan"] and isinstance(found["work"], list)


def test_a_line_that_fails_ends_the_run_with_its_place(tmp_path: Path) -> None:
    job = tmp_path / "job.txt"
    job.write_text("releases list\nindex\n", encoding="utf-8")
    process = wbrag("run", str(job), "--workspace", str(tmp_path / "w"), "--json")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and json.loads(out) == []
    assert f"{job} 2: expected" in one_sentence(err)

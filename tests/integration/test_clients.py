"""Clients and frameworks as they come, from their own packages, against the endpoint over HTTP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.support.answered import life as life
from tests.support.client_packages import ROOT, SCRIPTS, inspector, interpreter, run
from tests.support.desk import DeskBench
from tests.support.elasticsearch_server import elasticsearch
from tests.support.hostless import Life
from tests.support.pipeline import ITEMS
from tests.support.restricted import Archive, archive_of
from tests.support.serving import served
from tests.support.talking import FIRST, FOLLOW_UP, QUERY
from tests.support.talking import bench as bench
from wbrag.evaluation.export import export_answers

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ONE = "It was sold in 1911, they say. Ada Thorn designed it [1]."
CITED = "It was sold in 1911 [1], they say. Ada Thorn designed it [2]."


@pytest.fixture
def url(bench: DeskBench) -> Iterator[str]:
    with served(bench.app) as address:
        yield address


@pytest.mark.parametrize("script", ["litellm_chat.py", "langchain_chat.py", "llama_index_chat.py"])
def test_a_conversation(bench: DeskBench, url: str, script: str) -> None:
    """The follow-up is understood, and what is said reads the same whichever way it is asked for."""
    said = json.loads(run(SCRIPTS / script, url, json.dumps([*FIRST, FOLLOW_UP])).splitlines()[-1])
    assert said.pop("tokens", 1) > 0 and said.pop("vectors", 2) == 2
    assert said.pop("narrowed", ONE) == ONE, "of one document none but the first can be cited"
    assert set(said.values()) == {CITED}, said
    assert QUERY in [query for query, _, _ in bench.library.calls]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_of(tmp_path)


@pytest.mark.parametrize("package", ["langchain-wbrag", "llama-index-wbrag", "haystack-wbrag"])
def test_a_package_of_ours_in_its_framework(archive: Archive, package: str) -> None:
    folder = ROOT / "integrations" / package
    with served(archive.app()) as url:
        said = run("-m", "pytest", "-q", cwd=folder, WBRAG_URL=url, WBRAG_QUESTION="What is open?", PYTHONPATH=".")
    assert " passed" in said and "skipped" not in said


@pytest.mark.parametrize("kind", ["qdrant", "lancedb", "elasticsearch"])
def test_passages_in_a_vector_store_of_langchain(tmp_path: Path, kind: str) -> None:
    """What the store finds has its title, its id and wbrag's own score; and is narrowed where it can be."""
    with elasticsearch() if kind == "elasticsearch" else nullcontext(str(tmp_path / "store")) as where:
        said = json.loads(run(SCRIPTS / "stores.py", kind, STORE_AT=where).splitlines()[-1])
    [mill, tower] = said["found"]
    assert mill[0][1:3] == ["Note 2", "The code of mill is k2."] and tower[0][1] == "Note 5"
    assert all(len({id for id, *_ in hits}) == 4 for hits in said["found"])
    assert mill[0][3] > mill[1][3], "the scores are those of the encoder, whichever way the store counts"
    if kind == "qdrant":
        assert sorted(row["year"] for row in said["narrowed"]) == [2005, 2007, 2008, 2010, 2011]
        assert said["by id"] == {mill[0][0]: "Note 2"}


def test_a_job_reports_to_mlflow(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    said = run(SCRIPTS / "mlflow_report.py", tmp_path, uri, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    found = json.loads(said.splitlines()[-1])
    assert found["name"] == "evaluate toy/dev" and found["score"] == 0.5
    assert found["metrics"] == {"n": 4, "score": 0.5, "ci95.low": 0.1, "ci95.high": 0.9, "ends.stop": 4}
    assert found["params"] == {"examples": "toy/dev", "config.retrieval.top_k": "7", "config.workspace": str(tmp_path)}


def test_exported_answers_are_read(life: Life, tmp_path: Path) -> None:
    for format, file in (("ragas", "samples.jsonl"), ("trec", "naive.run")):
        export_answers(life.runner, "toy/train", tmp_path / file, format)  # type: ignore[arg-type]
    figures = json.loads(run(SCRIPTS / "read_answers.py", tmp_path / "naive.run", tmp_path / "naive.qrels"))
    assert figures.keys() == {"nDCG@5", "R@5"} and all(0.3 < value <= 1 for value in figures.values())
    said = run(SCRIPTS / "read_samples.py", tmp_path / "samples.jsonl", packages="clients-ragas").splitlines()[-1]
    found = json.loads(said)
    assert (found["samples"], found["kind"]) == (len(ITEMS), "SingleTurnSample")
    assert found["first"]["reference"] == "k0" and len(found["first"]["retrieved_contexts"]) == 5


def test_the_image_is_as_hadolint_wants_it() -> None:
    hadolint = interpreter().with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_mcp_inspector_lists_and_calls(bench: DeskBench, url: str) -> None:
    def told(*arguments: str) -> Any:
        command = [*inspector(), f"{url}/mcp", "--transport", "http", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    tools = {tool["name"]: tool for tool in told("--method", "tools/list")["tools"]}
    assert set(tools) == {"search", "ask", "unit"} and all(tool["description"] for tool in tools.values())
    said = told("--method", "tools/call", "--tool-name", "ask", "--tool-arg", f"question={FIRST[0]['content']}")
    assert said["structuredContent"]["text"] == CITED and said["structuredContent"]["cited"] == [1, 2]


def test_no_request_of_its_schema_breaks_the_endpoint(url: str) -> None:
    """schemathesis over the OpenAPI document; `-n 800` for five thousand requests."""
    schemathesis = interpreter().with_name("schemathesis")
    command = [str(interpreter()), schemathesis, "run", f"{url}/openapi.json", "--phases", "examples,coverage,fuzzing"]
    bounds = ["-n", "30", "--seed", "1", "--request-timeout", "20", "--checks", "not_a_server_error", "--no-color"]
    done = subprocess.run([*command, *bounds], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-4000:]

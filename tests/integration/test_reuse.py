"""What an earlier run found out is not asked again: calls are counted at a real endpoint, rows are a fresh run's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.hosts import Host
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ASKED, ITEMS, reader, settings
from wbrag.core.config import load
from wbrag.enrich.row_jobs import EvaluateJob
from wbrag.enrich.start_check import QUESTION
from wbrag.enrich.summary import verdicts_sha256
from wbrag.executor.reuse import stages
from wbrag.units.layout import Layout
from wbrag.workspace import Workspace

pytestmark = pytest.mark.integration


CODES = {item: f"k{i}" for i, item in enumerate(ITEMS)}
KNOWN, MISREAD = ITEMS[:5], ITEMS[5:9]


def a_reader(messages: list[dict[str, str]]) -> str:
    """Knows some by heart, and misreads some others among many documents."""
    text = "\n".join(m["content"] for m in messages)
    item = (ASKED.findall(text) or [""])[-1]
    if item in KNOWN and "Doc 1" not in text:
        return CODES[item]
    return "k0" if item in MISREAD and "Doc 2" in text else reader(messages)


def asked(server: OpenAIServer) -> int:
    """Requests, without a start check's own question."""
    checks = sum(QUESTION in body["messages"][-1]["content"] for body in server.requests)
    return len(server.requests) - checks


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(reply=a_reader) as found:
        yield found


@pytest.fixture(scope="module")
def finished(here: Host, indexed_here: Path, server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which all questions were enriched and answered once, with every setting at its default."""
    folder = tmp_path_factory.mktemp("reuse") / "w"
    shutil.copytree(indexed_here, folder)
    with here.workspace(folder, server) as w:
        w.verdicts("toy/train")
        w.answers("toy/train", release="none")
        w.answers("toy/train", release="none", method="iter_retgen")
    return folder


def own_prompts(folder: Path, **texts: str) -> str:
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name.replace('__', '.')}.txt").write_text(text, encoding="utf-8")
    return str(folder)


def changed(name: str, tmp_path: Path, server: OpenAIServer) -> dict[str, Any]:
    """The settings of each case."""
    if name == "a prompt of another method":
        return {"prompts_dir": own_prompts(tmp_path / "p", flare__question="{question}?")}
    if name == "a prompt of another task":
        return {"prompts_dir": own_prompts(tmp_path / "p", nq__rag="{documents}\n---\n{question}")}
    if name == "the distiller's prompt":
        return {
            "prompts_dir": own_prompts(
                tmp_path / "p", rewrite="Give a title line, then text.\n---\n{question}\n{evidence}"
            )
        }
    if name == "the task's prompt":
        return {"prompts_dir": own_prompts(tmp_path / "p", qa__rag="Read this.\n{documents}\n---\n{question}")}
    model = cast(dict[str, Any], settings(server)["generator"])
    return {
        "a longer context": {"generator": {**model, "max_model_len": 9000}},
        "higher thresholds": {"enrich": {"tau_s": 0.4, "tau_delta": 0.3}},
        "another metric": {"enrich": {"gate_metric": "em"}},
        "no round trip": {"enrich": {"round_trip": False}},
        "more of eq. 9": {"enrich": {"tau_doc": 0.5}},
        "an extractive distiller": {"enrich": {"distiller": "extractive"}},
        "longer answers": {"generator": {**model, "max_answer_tokens": 40}},
        "all is recorded": {"enrich": {"record": "all"}},
        "deeper candidates": {"enrich": {"candidate_depth": 9}},
    }[name]


@pytest.mark.parametrize(
    ("name", "asked_again"),
    [
        ("a longer context", "nothing"),
        ("higher thresholds", "nothing"),
        ("more of eq. 9", "nothing"),
        ("a prompt of another method", "nothing"),
        ("a prompt of another task", "nothing"),
        ("no round trip", "nothing"),
        ("another metric", "a unit read"),
        ("the distiller's prompt", "a unit written and read"),
        ("an extractive distiller", "a unit read"),
        ("all is recorded", "documents"),
        ("deeper candidates", "a search"),
        ("longer answers", "answers"),
        ("the task's prompt", "answers"),
    ],
)
def test_only_what_a_setting_decides_is_asked_again(
    here: Host, finished: Path, indexed_here: Path, server: OpenAIServer, tmp_path: Path, name: str, asked_again: str
) -> None:
    sections = changed(name, tmp_path, server)
    trial = 0 if asked_again == "a unit read" and "extractive" in name else 2  # the start check distils once
    shutil.copytree(finished, tmp_path / "w")
    shutil.copytree(indexed_here, tmp_path / "fresh")
    with here.workspace(tmp_path / "fresh", server, **sections) as w:
        before = asked(server)
        fresh = w.verdicts("toy/train").rows
        whole = asked(server) - before - trial
    with here.workspace(tmp_path / "w", server, **sections) as w:
        before = asked(server)
        run = w.verdicts("toy/train")
        made = asked(server) - before
        made -= trial if made else 0
    accepted = sum(row["accepted"] for row in fresh)
    assert accepted > 3
    assert verdicts_sha256(run.rows) == verdicts_sha256(fresh)
    assert made == sum(row["calls"] for row in run.rows)
    assert [row["calls"] + row["reused_calls"] for row in run.rows] == [row["calls"] for row in fresh]
    most = {
        "nothing": 0,
        "a search": 0,
        "a unit read": accepted,
        "a unit written and read": 3 * accepted,
        "documents": whole - 1,
    }
    assert made <= most.get(asked_again, whole) and (most.get(asked_again) == 0 or made > 0)
    assert run.resumed == (len(run.rows) if asked_again == "nothing" else run.resumed)


def test_one_example_more_costs_that_example(here: Host, finished: Path, server: OpenAIServer, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "w")
    rows = [
        {"id": e.id, "question": e.question, "golden_answers": list(e.golden_answers)}
        for e in Workspace(finished).examples("toy/train")
    ]
    rows.append({"id": "later", "question": "What is the code of nothing?", "golden_answers": ["x"]})
    rows[0]["golden_answers"] = ["other"]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with here.workspace(tmp_path / "w", server) as w:
        w.ingest_examples(tmp_path / "more.jsonl", "toy", "train")
        run = w.verdicts("toy/train")
        assert run.resumed == len(rows) - 2, "the new one, and the one with another answer"
        assert {row["id"] for row in run.rows if row["calls"]} == {"later", rows[0]["id"]}
        before = asked(server)
        answers = w.answers("toy/train", release="none")
        assert asked(server) - before == 2
        assert [row["id"] for row in answers] == [row["id"] for row in rows]


@pytest.mark.parametrize(
    "name", ["a longer context", "higher thresholds", "a prompt of another method", "the distiller's prompt"]
)
@pytest.mark.parametrize("method", ["naive", "iter_retgen"])
def test_answers_are_taken_over(
    here: Host, finished: Path, server: OpenAIServer, tmp_path: Path, name: str, method: str
) -> None:
    shutil.copytree(finished, tmp_path / "w")
    with here.workspace(finished, server) as w:
        were = w.answers("toy/train", release="none", method=method)
    before = asked(server)
    with here.workspace(tmp_path / "w", server, **changed(name, tmp_path, server)) as w:
        assert w.answers("toy/train", release="none", method=method) == were
        assert asked(server) == before
        assert w.runner._session is not None and w.answers("toy/train", release="closed-book") != were
    assert asked(server) > before, "closed book is another question"


def test_a_run_that_cannot_be_read_is_passed_over_with_a_word(
    here: Host, finished: Path, server: OpenAIServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(finished, tmp_path / "w")
    [run] = (tmp_path / "w" / "verdicts").iterdir()
    next(run.glob("*.parquet")).write_bytes(b"PAR1 no more")
    (tmp_path / "w" / "verdicts" / "half").mkdir()
    (tmp_path / "w" / "verdicts" / "half" / "run.json").write_text("{", encoding="utf-8")
    with here.workspace(tmp_path / "w", server, **changed("higher thresholds", tmp_path, server)) as w:
        again = w.verdicts("toy/train")
    assert again.resumed == 0 and all(row["calls"] for row in again.rows)
    assert run.name in caplog.text and "half" in caplog.text


def test_a_planner_asks_again_where_the_plain_tasks_prompt_is_another(tmp_path: Path) -> None:
    layout = Layout(tmp_path, load(workspace=str(tmp_path)))
    mine = own_prompts(tmp_path / "p", qa__rag="{documents}\n---\n{question}")
    other = load(workspace=str(tmp_path), prompts_dir=mine)
    for method, same in (("planner", False), ("naive", True)):
        found = [stages(EvaluateJob(config, False, method), []) for config in (layout.config, other)]
        assert (found[0] == found[1]) is same

"""A retriever learns which documents helped, is released, answers better, and is taken back: over a real endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.hostless import Life, Words, open_life
from tests.support.openai_server import Body, OpenAIServer
from tests.support.tiny_bert import save_cross_encoder, save_encoder
from wbrag.core.errors import WbragError
from wbrag.core.model_sections import EncoderConfig
from wbrag.evaluation.bench.tables import markdown, rankings
from wbrag.evaluation.report.retriever_page import render, tables, to_json
from wbrag.retrieval.encoder import Encoder

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TOPICS = [f"{first}{last}" for first in "amber birch cedar delta ember fjord grove haven".split() for last in
          "lamp gate mill boat yard rope bell kiln dock loom pier tarn weir oven".split()]  # fmt: skip
SETTINGS = {"retrieval": {"top_k": 1}, "enrich": {"top_k": 1}}
WORDED = SETTINGS | {"retrieval": {"top_k": 1, "hybrid": 0.3}}
TRAIN = {"candidates": 4, "candidate_depth": 4}
CODES = {topic: f"k{n}" for n, topic in enumerate(TOPICS)}
TOPIC = re.compile(r"asked about (\w+),")


class Wide(Words):
    """Few words share a place, so that questions find their own topic."""

    dimension = 4096


class Scoring(OpenAIServer):
    """Answers from the passage that states the code, which makes the gold answer likely too; knows nothing by heart."""

    def _completion(self, body: Body) -> Body:
        found = super()._completion(body)
        if "prompt_logprobs" in found:
            text = "\n".join(message["content"] for message in body["messages"])
            helped = f"answer {CODES.get((TOPIC.findall(text) or [''])[-1])}" in text
            for entry in found["prompt_logprobs"][1:]:
                for token in entry.values():
                    token["logprob"] = -0.5 if helped else -4.0
        return found


def reply(messages: list[dict[str, str]]) -> str:
    text = "\n".join(message["content"] for message in messages)
    topic = (TOPIC.findall(text) or [""])[-1]
    return CODES[topic] if topic in CODES and f"answer {CODES[topic]}" in text else "unknown"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with Scoring(reply=reply, vllm=True) as found:
        yield found


@pytest.fixture(scope="module")
def life(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Of every topic a passage that looks like the question, and one that answers it."""
    folder = tmp_path_factory.mktemp("retriever")
    passages = [
        {"id": f"{kind}-{topic}", "contents": f"{topic}\n{text}"}
        for topic in TOPICS
        for kind, text in (
            ("decoy", f"They asked about {topic}."),
            ("gold", f"The answer {CODES[topic]} for {topic}."),
        )
    ]
    examples = [
        {"id": topic, "question": f"What was asked about {topic}, {topic}?", "golden_answers": [CODES[topic]]}
        | {"metadata": {"gold": [f"gold-{topic}"]}}
        for topic in TOPICS
    ]
    for name, rows in (("corpus", passages), ("examples", examples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_life(str(folder / "w"), server.url, Wide(), **SETTINGS, train=TRAIN) as w:
        w.ingest_corpus(folder / "corpus.jsonl")
        w.ingest_examples(folder / "examples.jsonl", "toy", "train")
        w.index()
        yield w


def test_it_learns_and_answers_better_and_is_taken_back(life: Life, server: OpenAIServer) -> None:
    found = life.train_retriever("toy/train")
    mrr = next(one for one in found.held if one.name == "mrr_at_10")
    assert found.retriever.better and mrr.gain.ci95.low > 0.2 and mrr.control.gain < 0.05
    assert sum(found.questions.values()) == len(TOPICS) and not sum(found.left)
    with pytest.raises(WbragError, match="approved units"):
        life.publish(retriever="none")
    release = life.publish("a retriever")
    assert release.retriever == f"retrievers/{found.retriever.name}.json"
    gain = life.evaluate("toy/train", release=release.id, against="none")
    assert gain["gain"] > 0.3 and gain["p"] < 0.001
    by_release, by_base = (life.answers("toy/train", release=name) for name in (release.id, "none"))
    assert sum(row["hit_ids"][0].startswith("gold-") for row in by_release) > len(TOPICS) / 2
    assert all(row["hit_ids"][0].startswith("decoy-") for row in by_base)

    asked = len(server.requests)
    again = life.train_retriever("toy/train")
    assert again.retriever.name == found.retriever.name and len(server.requests) == asked
    assert again.curves == found.curves
    assert life.layout.adapter(release.id) is not None, "what a release names was written over"

    page, shown = render(found), str(tables(found, "x.html"))
    assert "<h1>Better: " in page and found.retriever.name in page and "wbrag publish" in shown
    alone = replace(found, held=[one._replace(control=None) for one in found.held])
    assert "Control's gain" in page and "ontrol" not in render(alone)
    assert json.loads(json.dumps(to_json(found, "x.html")))["held_out"]["mrr_at_10"]["gain"] == mrr.gain.gain


def test_a_reranker_learns_over_the_adapter_and_is_released_with_it(
    life: Life, server: OpenAIServer, tmp_path: Path
) -> None:
    words = "They asked about . The answer for What was ? ,".split()
    save_cross_encoder(tmp_path / "base", [*words, *TOPICS, *CODES.values()], ["useful"], scale=1)
    settings = {"base": str(tmp_path / "base"), "learning_rate": 1e-2, "epochs": 6, "max_tokens": 32}
    adapter = life.train_retriever("toy/train")
    asked = len(server.requests)
    with open_life(str(life.path), server.url, Wide(), **SETTINGS, train=TRAIN | {"reranker": settings}) as w:
        found = w.train_retriever("toy/train", kind="reranker")
        assert len(server.requests) == asked, "what enrichment has asked was asked again"
        assert [part.kind for part in found.retriever.parts] == ["adapter", "reranker"]
        assert found.retriever.parents == (adapter.retriever.name,)
        release = w.publish("both", retriever=found.retriever.name)
        rows = w.answers("toy/train", release=release.id)
        assert sum(row["hit_ids"][0].startswith("gold-") for row in rows) > 0.9 * len(TOPICS)
        assert all(0 <= score <= 1 for row in rows for score in row["hit_scores"])
        page = render(found)
        assert "the reranker reads their best hits again" in page and "a reranker that learned from" in page
        model = w.path / "retrievers" / found.retriever.parts[-1].folder / "model.safetensors"
        model.write_bytes(model.read_bytes()[:-1] + b"x")
        with pytest.raises(WbragError, match="model.safetensors with sha256 .* train it again"):
            w.runner.prepare(release)


def test_a_suite_compares_them_with_their_controls(life: Life, server: OpenAIServer, tmp_path: Path) -> None:
    words = "They asked about . The answer for What was ? ,".split()
    save_cross_encoder(tmp_path / "base", [*words, *TOPICS, *CODES.values()], ["useful"], scale=1)
    suite = {
        "name": "toy",
        "sets": {name: {"train": "toy/train", "test": "toy/train", "test_limit": 40} for name in ("one", "other")},
        "retrievers": {"reranker": True, "hybrid": 0.3, "unseen": ["toy/train"], "unseen_limit": 10},
        "train": {"reranker": {"base": str(tmp_path / "base"), "learning_rate": 1e-2, "epochs": 4, "max_tokens": 32}},
    }
    (tmp_path / "toy.yaml").write_text(json.dumps(suite))
    with open_life(str(life.path), server.url, Wide(), **WORDED, train=TRAIN) as w:
        w.index()
    with open_life(str(life.path), server.url, Wide(), **SETTINGS, train=TRAIN) as w:
        first = w.bench(tmp_path / "toy.yaml")
        asked = len(server.requests)
        again = w.bench(tmp_path / "toy.yaml")
        assert len(server.requests) == asked and again.rankings == first.rankings
    rows = {(r["of"], r["arm"]): r for r in first.rankings if r["set"] == "one"}
    of_test = [arm for of, arm in rows if of == "test"]
    assert of_test[0] == "base" and {"adapter", "reranker", "hybrid", "all together", "adapter of other"} < set(of_test)
    base, adapter, reranker = (rows["test", arm] for arm in ("base", "adapter", "reranker"))
    assert base["recall_at_1"] == 0 < adapter["recall_at_1"] <= reranker["recall_at_1"]
    assert adapter["acc_gain"] > 0.3 and adapter["p_holm"] < 0.05 and adapter["mrr_at_10_ci95"][0] > 0
    assert (
        rows["test", "adapter, shuffled labels"]["recall_at_1"] < 0.2
        and "acc_gain" not in rows["test", "adapter, shuffled labels"]
    )
    assert rows["candidates", "likelihood"]["recall_at_1"] == 1 and rows["candidates", "similarity"]["p"] == 1
    unseen = {r["arm"]: r for r in first.rankings if r["of"] == "unseen" and r["set"] == "toy/train"}
    assert unseen["base"]["n"] == 10 and unseen["reranker of one"]["recall_at_1"] > unseen["base"]["recall_at_1"]
    assert "acc_score" not in unseen["hybrid, both of other"]
    shown = markdown(first, rankings(first))
    assert "| default | one | adapter |" in shown and "upper bound" in shown


def test_an_encoder_is_trained_for_an_index_of_its_own(life: Life, tmp_path: Path) -> None:
    save_encoder(tmp_path / "base", [*"They asked about . The answer for What was ? ,".split(), *TOPICS])
    settings = {"base": str(tmp_path / "base" / "model"), "learning_rate": 1e-2, "max_tokens": 32}
    with open_life(
        str(life.path), life.config.generator.base_url, Wide(), **SETTINGS, train=TRAIN | {"encoder": settings}
    ) as w:
        found = w.train_retriever("toy/train", kind="encoder")
        assert not found.retriever.better and f"wbrag index --encoder.model {found.folder}" in str(tables(found, "x"))
        with pytest.raises(WbragError, match="an encoder, which needs an index of its own: run `wbrag index"):
            w.publish("no", retriever=found.retriever.name)
    assert Encoder(EncoderConfig(model=str(found.folder), dtype="float32")).dimension == 16


def test_too_few_questions_are_refused(life: Life) -> None:
    before = set((life.path / "retrievers").glob("*"))
    with pytest.raises(WbragError, match="at least 100 questions of toy/train"):
        life.train_retriever("toy/train", limit=20)
    assert set((life.path / "retrievers").glob("*")) == before

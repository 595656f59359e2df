"""Readings: what is drawn, what is kept apart, and how it is split, over a corpus of documents whole and cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.hosts import Here
from tests.support.openai_server import OpenAIServer
from wbrag.core.errors import UsageError
from wbrag.core.types import Example
from wbrag.data.chunk import document_of
from wbrag.executor.readings import Apart, archive, drawn, parts, readings
from wbrag.workspace import Workspace

COUNT = 60


@pytest.fixture
def workspace(tmp_path: Path, here: Here, endpoint: OpenAIServer) -> Workspace:
    """Sixty lights, the first of them a document that is cut, with a question about each in two sets."""
    long = " ".join(f"Room {n} of the light is quiet." for n in range(200))
    texts = [f"Light {n}\nThe light {n} was lit by keeper {n}. {long if n == 0 else ''}" for n in range(COUNT)]
    lines = [json.dumps({"id": f"p{n}", "contents": text}) for n, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    w = here.workspace(tmp_path / "w", endpoint)
    w.ingest_corpus(tmp_path / "corpus.jsonl")
    for name, start in (("one", 0), ("two", COUNT // 2)):
        rows = [
            {
                "id": f"q{n}",  # the same ids in both sets
                "question": f"Who lit light {start + n}?",
                "golden_answers": [f"keeper {start + n}"],
                "metadata": {"gold": [f"p{start + n}"]},
            }
            for n in range(COUNT // 2)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        w.ingest_examples(tmp_path / f"{name}.jsonl", name, "train")
    w.index()
    return w


def test_sets_with_equal_ids_are_drawn_whole_and_always_the_same(workspace: Workspace) -> None:
    models, none = workspace.runner, Apart.of([])
    found = drawn(models, ["one/train", "two/train"], none, 1000, 0)
    assert len(found) == COUNT and len({(one.of, one.example.id) for one in found}) == COUNT
    assert drawn(models, ["one/train", "two/train"], none, 7, 0) == found[:7]
    assert drawn(models, ["one/train", "two/train"], none, 1000, 1) != found


def test_what_is_kept_apart_is_shown_nowhere(workspace: Workspace) -> None:
    models = workspace.runner
    hidden = [e for e in workspace.examples("one/train") if e.id in {"q0", "q3", "q5"}]
    apart = Apart.of(hidden)
    found = readings(models, drawn(models, ["one/train"], apart, 1000, 0), apart)
    assert len(found) == COUNT // 2 - 3 and all(one.near for one in found)
    shown = {document_of(p.id) for one in found for p in [*one.gold, *one.near]}
    assert shown.isdisjoint({"p0", "p3", "p5"}), "a chunk of a document that is kept apart"
    again = Example("other", hidden[0].question.upper(), ("x",), "qa", {"gold": ["p9"]})
    cut = Example("other", "Which room is quiet?", ("x",), "qa", {"gold": ["p0#2"]})
    assert apart.holds(again) and apart.holds(cut)
    with pytest.raises(UsageError, match="not kept apart, found none"):
        drawn(models, ["one/train"], Apart.of(workspace.examples("one/train")), 10, 0)


def test_a_document_that_was_cut_is_read_as_far_as_it_was_found(workspace: Workspace) -> None:
    models, none = workspace.runner, Apart.of([])
    [found] = readings(
        models, [one for one in drawn(models, ["one/train"], none, 99, 0) if one.example.id == "q0"], none
    )
    assert found.gold and all(p.id.startswith("p0#") for p in found.gold)
    assert [len(scores) > 0 for scores in found.similar] == [True] * len(found.gold)


def test_many_more_questions_than_are_drawn_are_split_all_the_same() -> None:
    """The hash that draws is not the hash that splits, or the first of many would all be held out."""
    found = archive(400, 0)
    taught, stopping, held_out = parts(found, 0)
    assert len(taught) > 200 and len(stopping) > 20 and len(held_out) > 40
    assert len(taught) + len(stopping) + len(held_out) == 400
    twice = parts([*found, *(one._replace(of="again") for one in found)], 0)
    gold = [{p.id for one in part for p in one.gold} for part in twice]
    assert gold[0].isdisjoint(gold[1] | gold[2]) and gold[1].isdisjoint(gold[2])

"""Conversations over the API: follow-ups, instructions, citations, and the task that answers where nobody says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.desk import BASE_HIT, UNIT_HIT, DeskBench
from tests.support.talking import FIRST, FOLLOW_UP, QUERY, bench

__all__ = ["bench"]


@pytest.fixture
def client(bench: DeskBench) -> Iterator[TestClient]:
    with TestClient(bench.app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as found:
        yield found


def ask(client: TestClient, *messages: Any, **more: Any) -> Any:
    reply = client.post("/v1/chat/completions", json={"model": "wbrag", "messages": list(messages), **more})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_follow_up_is_searched_for_as_a_question_of_its_own(client: TestClient, bench: DeskBench) -> None:
    found = ask(client, *FIRST, FOLLOW_UP)
    block, message = found["wbrag"], found["choices"][0]["message"]
    assert (block["task"], block["query"], block["cost"]["calls"]) == ("chat", QUERY, 2)
    assert bench.library.calls[-1][0] == QUERY
    assert message["content"] == "It was sold in 1911 [1], they say. Ada Thorn designed it [2]."
    cited = [entry["url_citation"] for entry in message["annotations"]]
    assert [message["content"][c["start_index"] : c["end_index"]] for c in cited] == ["[1]", "[2]"]
    assert [c["url"] for c in cited] == [f"urn:wbrag:passage:{BASE_HIT.id}", f"urn:wbrag:unit:{UNIT_HIT.id}"]
    again = ask(client, *FIRST, FOLLOW_UP)
    assert again["wbrag"]["cost"]["calls"] == 1, "the same follow-up is written once"
    alone = ask(client, *FIRST, {"role": "user", "content": "Who wrote the Ilgan rule down in 1911?"})
    assert "query" not in alone["wbrag"] and alone["wbrag"]["cost"]["calls"] == 1


def test_the_operators_words_come_before_the_clients_and_earlier_turns_before_the_question(
    client: TestClient, bench: DeskBench
) -> None:
    ask(client, {"role": "system", "content": "Answer in verse."}, *FIRST, FOLLOW_UP)
    system, *turns = bench.generator.calls[-1].prompt
    words = system.content
    assert words.index("square brackets") < words.index("the archive of Corvane") < words.index("Answer in verse")
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[0].content == FIRST[0]["content"] and turns[-1].content.endswith("When was it sold?")


def test_a_stream_says_what_the_whole_answer_says(client: TestClient) -> None:
    whole = ask(client, *FIRST, FOLLOW_UP)["choices"][0]["message"]
    body = {"model": "wbrag", "stream": True, "messages": [*FIRST, FOLLOW_UP]}
    lines = client.post("/v1/chat/completions", json=body).text.split("\n\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    said = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
    assert said == whole["content"] and len(events) > 4
    assert events[-1]["choices"][0]["delta"]["annotations"] == whole["annotations"]
    assert events[-1]["wbrag"]["query"] == QUERY


def test_short_tasks_and_other_methods_are_as_they_were(client: TestClient, bench: DeskBench) -> None:
    short = ask(client, *FIRST, FOLLOW_UP, wbrag={"task": "qa"})
    assert short["wbrag"]["task"] == "qa" and "query" not in short["wbrag"]
    assert len(bench.generator.calls[-1].prompt) == 2, "a short task reads the question alone"
    other = client.post(
        "/v1/chat/completions", json={"model": "wbrag/flare", "messages": [FOLLOW_UP], "wbrag": {"task": "chat"}}
    )
    assert other.status_code == 400 and "expected a method of naive, iter_retgen" in other.json()["error"]["message"]


def test_an_earlier_image_keeps_nobody_from_asking_on(client: TestClient) -> None:
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    assert ask(client, image, FIRST[1], FOLLOW_UP)["wbrag"]["task"] == "chat"


def test_the_embedded_model_answers_in_short(bench: DeskBench) -> None:
    c = bench.store.layout.config
    embedded = c.generator.model_copy(update={"model": "embedded"})
    bench.app.state.service.layout.config = c.model_copy(update={"generator": embedded})
    with TestClient(bench.app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as client:
        assert ask(client, *FIRST, FOLLOW_UP)["wbrag"]["task"] == "qa"

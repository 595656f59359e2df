"""The gateway under uvicorn, asked by those who will ask it: the official client, and curl."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.serving import PASSAGE, UNIT, Bench, bench, served

QUESTION = "Who designed the Corvane gauge?"
ASKED = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench(tmp_path_factory.mktemp("gate"), releases="any", max_tokens=64)


@pytest.fixture(scope="module")
def url(gate: Bench) -> Iterator[str]:
    with served(gate.app) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_an_answer_with_its_citations_and_its_cost(gate: Bench, client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="wbrag", messages=ASKED)
    [choice] = reply.choices
    assert choice.message.content == "Ada Thorn" and choice.finish_reason == "stop"
    assert choice.message.annotations is not None
    assert [a.url_citation.url for a in choice.message.annotations] == [
        "urn:wbrag:unit:wb-0123456789abcdef",
        "urn:wbrag:passage:p1",
    ]
    assert choice.message.annotations[0].url_citation.title == UNIT.title
    assert reply.usage is not None and reply.usage.completion_tokens == 4 and reply.usage.prompt_tokens > 10
    block = reply.model_extra["wbrag"]
    assert (block["release"], block["method"], block["task"]) == ("r0002", "naive", "qa")
    assert [(h["id"], h["origin"], h["score"]) for h in block["hits"]] == [
        (UNIT.id, "writeback", 0.9),
        (PASSAGE.id, "base", 0.8),
    ]
    assert block["cost"]["calls"] == 1 and reply.id == f"chatcmpl-{block['request_id']}"
    assert QUESTION in gate.generator.calls[-1].prompt[-1].content


def test_a_stream_says_the_same_in_pieces(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="wbrag/naive", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert texts == ["Ada", " Thorn"]
    *_, finish, counts = chunks
    assert finish.choices[0].finish_reason == "stop" and finish.usage is None
    assert [a["url_citation"]["title"] for a in finish.choices[0].delta.model_extra["annotations"]] == [
        UNIT.title,
        PASSAGE.title,
    ]
    assert finish.model_extra["wbrag"]["release"] == "r0002"
    assert counts.usage is not None and counts.usage.completion_tokens == 3  # the rest of the reply was not waited for
    assert counts.model_extra["wbrag"] == finish.model_extra["wbrag"]


def test_a_method_of_several_calls_streams_its_answer_whole(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="wbrag/iter_retgen", messages=ASKED) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Ada Thorn"


def test_the_async_client_and_many_at_once(url: str) -> None:
    async def many() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as asking:
            replies = await asyncio.gather(
                *(asking.chat.completions.create(model="wbrag", messages=ASKED) for _ in range(20))
            )
            stream = await asking.chat.completions.create(model="wbrag", messages=ASKED, stream=True)
            heard = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return [reply.choices[0].message.content for reply in replies] + ["".join(heard)]

    assert set(asyncio.run(many())) == {"Ada Thorn"}


def test_method_task_release_and_top_k_are_chosen_per_request(gate: Bench, client: openai.OpenAI) -> None:
    wanted = {"method": "naive", "task": "boolq", "release": "r0001", "top_k": 1}
    reply = client.chat.completions.create(
        model="wbrag/iter_retgen", messages=ASKED, max_tokens=9, seed=-1, stop="x", extra_body={"wbrag": wanted}
    )
    block = reply.model_extra["wbrag"]
    assert (block["method"], block["task"], block["release"], len(block["hits"])) == ("naive", "boolq", "r0001", 1)
    assert gate.library.calls[-1] == (QUESTION, "r0001", 1)
    sampling = gate.generator.calls[-1].sampling
    assert sampling is not None and (sampling.max_tokens, sampling.seed, sampling.stop) == (9, 2**31 - 1, ("x",))


def test_of_a_conversation_the_last_user_message_is_asked(gate: Bench, client: openai.OpenAI) -> None:
    turns = [
        {"role": "system", "content": "Speak like a pirate."},
        {"role": "user", "content": "Who was Ada Thorn?"},
        {"role": "assistant", "content": "A maker of gauges."},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ]
    client.chat.completions.create(model="wbrag", messages=turns, max_tokens=100_000, temperature=0.5)
    assert gate.library.calls[-1][0] == QUESTION
    sampling = gate.generator.calls[-1].sampling
    assert sampling is not None and (sampling.max_tokens, sampling.temperature) == (64, 0.5)


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:3] == ["wbrag", "wbrag/naive", "wbrag/iter_retgen"]
    assert client.models.retrieve("wbrag/flare").id == "wbrag/flare"
    with pytest.raises(openai.NotFoundError, match="expected one of the models wbrag, "):
        client.models.retrieve("gpt-4o")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "oracle"}, "wbrag.method: expected one of naive, iter_retgen"),
        ({"task": "poetry"}, "wbrag.task: expected one of chat, qa, nq"),
        ({"release": "r0009"}, "expected a release id, found 'r0009': choose one of r0001, r0002"),
        ({"top_k": 21}, "wbrag.top_k: expected at most 20"),
        ({"topk": 3}, "wbrag.topk: extra inputs are not permitted"),
    ],
)
def test_what_is_not_allowed_is_a_400_that_says_what_is(
    client: openai.OpenAI, options: dict[str, object], said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        client.chat.completions.create(model="wbrag", messages=ASKED, extra_body={"wbrag": options})
    assert caught.value.type == "invalid_request_error"


def test_only_the_latest_release_where_the_operator_says_so(tmp_path: Path) -> None:
    with served(bench(tmp_path).app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        for name in ("r0001", "none"):
            with pytest.raises(openai.BadRequestError, match="wbrag.release: expected latest"):
                client.chat.completions.create(model="wbrag", messages=ASKED, extra_body={"wbrag": {"release": name}})
        reply = client.chat.completions.create(
            model="wbrag", messages=ASKED, extra_body={"wbrag": {"release": "latest"}}
        )
        assert reply.model_extra["wbrag"]["release"] == "r0002"


def test_curl(url: str) -> None:
    body = json.dumps({"model": "wbrag", "messages": ASKED})
    command = ["curl", "-sS", "-i", f"{url}/v1/chat/completions", "-H", "content-type: application/json", "-d", body]
    said = subprocess.run([*command, "-H", "x-request-id: my-1"], capture_output=True, text=True, check=True).stdout
    head, _, sent = said.partition("\n\n")
    assert "200 OK" in head and "x-request-id: my-1" in head
    assert json.loads(sent)["choices"][0]["message"]["content"] == "Ada Thorn"
    streamed = subprocess.run(
        ["curl", "-sS", "-N", *command[3:-1], json.dumps({"messages": ASKED, "stream": True})],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    events = [line for line in streamed.split("\n\n") if line]
    assert events[-1] == "data: [DONE]" and all(event.startswith("data: ") for event in events)
    assert json.loads(events[-2].removeprefix("data: "))["wbrag"]["hits"][0]["id"] == UNIT.id


def test_search_gives_hits_with_texts(url: str, gate: Bench) -> None:
    reply = httpx.post(f"{url}/v1/search", json={"query": f" {QUESTION} ", "k": 1, "release": "r0001"}).json()
    assert reply["release"] == "r0001" and [h["text"] for h in reply["hits"]] == [UNIT.text]
    assert gate.library.calls[-1] == (QUESTION, "r0001", 1)


def test_a_refusal_has_openais_form_and_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    with pytest.raises(openai.NotFoundError, match="there is nothing at this address"):
        client.moderations.create(input="x")


def test_the_api_describes_itself(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/models", "/v1/search", "/v1/feedback", "/readyz"} <= set(document["paths"])
    assert "Options" in document["components"]["schemas"]
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)

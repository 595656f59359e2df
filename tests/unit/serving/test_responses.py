"""OpenAI's newer wire format, through its own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from starlette.testclient import TestClient

from tests.support.desk import DeskBench
from tests.support.talking import FIRST, FOLLOW_UP, QUERY, bench

__all__ = ["bench"]
TEXT = "It was sold in 1911 [1], they say. Ada Thorn designed it [2]."


@pytest.fixture
def client(bench: DeskBench) -> Iterator[openai.OpenAI]:
    with TestClient(bench.app, client=("127.0.0.1", 1), base_url="http://127.0.0.1") as found:
        yield openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=found, max_retries=0)  # type: ignore[arg-type]


def test_text_in_text_and_citations_out(client: openai.OpenAI, bench: DeskBench) -> None:
    found: Any = client.responses.create(
        model="wbrag", input=[*FIRST, FOLLOW_UP], instructions="Be brief.", metadata={"a": "b"}, max_output_tokens=99
    )
    assert (found.status, found.output_text, found.metadata) == ("completed", TEXT, {"a": "b"})
    assert found.wbrag["query"] == QUERY and found.usage.total_tokens > 0
    [part] = found.output[0].content
    assert [TEXT[a.start_index : a.end_index] for a in part.annotations] == ["[1]", "[2]"]
    assert all(a.url.startswith("urn:wbrag:") and a.title for a in part.annotations)
    last = bench.generator.calls[-1]
    assert "Be brief." in last.prompt[0].content and last.sampling and last.sampling.max_tokens == 99
    assert client.responses.create(model="wbrag", input="Who designed it?").output_text == TEXT
    parts: Any = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who?"}]}]
    assert client.responses.create(model="wbrag", input=parts).output_text == TEXT


def test_a_stream_is_the_whole_in_events(client: openai.OpenAI) -> None:
    with client.responses.stream(model="wbrag", input=[*FIRST, FOLLOW_UP]) as stream:  # type: ignore[arg-type]
        events = list(stream)
        whole: Any = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == whole.output_text == TEXT and kinds.count("response.output_text.annotation.added") == 2
    assert [event.sequence_number for event in events] == sorted(event.sequence_number for event in events)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}, "messages"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"model": "gpt-4"}, "model"),
    ],
)
def test_what_cannot_be_met_is_refused_by_name(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(**{"model": "wbrag", "input": "Who?", **more})
    assert refused.value.status_code in (400, 404) and refused.value.body["param"] == param  # type: ignore[index]

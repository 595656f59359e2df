"""Sentences that their documents do not bear out are marked, in a stream as in the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.desk import DeskBench
from tests.support.serving import browse
from tests.support.talking import bench as bench
from wbrag.core.citations import order, read_prose
from wbrag.core.types import Hit
from wbrag.serving.support import MarkingReader, marked, unsupported

HITS = [
    Hit("a", "Corvane gauge", "The Corvane gauge was designed by Ada Thorn. It was sold in 1911 for 40 crowns.", 1.0),
    Hit("b", "Note", "Ilgan mill stands in Torvale. It rained.", 0.9),
]
MARK = "(unsupported)"


@pytest.mark.parametrize(
    ("sentence", "borne_out"),
    [
        ("The Corvane gauge was designed by Ada Thorn [1].", True),
        ("It was sold in 1911 [1].", True),
        ("It was sold in 1912 [1].", False),
        ("The Ilgan mill stands in Torvale [2].", True),
        ("The Ilgan mill stands in Torvale [1].", False),
        ("Ada Thorn designed it.", True),
        ("It was painted green by Maud.", False),
        ("The documents do not say who built it.", True),
        ("The documents say that Maud Ultis built it.", False),
    ],
)
def test_what_a_sentence_cites_bears_it_out(sentence: str, borne_out: bool) -> None:
    assert list(unsupported(sentence, HITS)) == ([] if borne_out else [(0, len(sentence))])


def test_nothing_is_no_sentence() -> None:
    assert marked("", HITS, MARK) == "" and marked("It hums.", [], MARK) == f"It hums. {MARK}"


SENTENCES = st.sampled_from(
    [
        "Ada Thorn designed it [1].",
        "It was sold in 1912 [1].",
        "The mill stands in Torvale [Doc 2].",
        "Dr. Maud painted it [7].",
        "No document says when.",
        "What now?",
        "e.g. [2]",
        "\n- oak [2, 1]\n",
    ]
)


@given(st.lists(SENTENCES, max_size=5), st.integers(1, 9))
def test_in_pieces_it_is_what_it_is_whole(said: list[str], size: int) -> None:
    raw = " ".join(said)
    reader = MarkingReader(lambda: HITS, MARK)
    streamed = "".join(reader.feed(raw[at : at + size]) for at in range(0, len(raw), size)) + reader.end()
    ranked = [HITS[document - 1] for document in order(raw, len(HITS))]
    assert streamed == marked(read_prose(raw, len(HITS)), ranked, MARK)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_marked_where_the_operator_says_so(bench: DeskBench, stream: bool) -> None:
    service = bench.app.state.service
    service.settings = service.settings.model_copy(update={"mark_unsupported": MARK})
    bench.generator.reply = lambda messages, sampling: "Ada Thorn designed it [1]. Maud sold it in 1950 [2]."
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Who designed it?"}], "stream": stream}
    with browse(bench.app) as client:
        said = client.post("/v1/chat/completions", json=asked).text
    if stream:
        events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    else:
        text = json.loads(said)["choices"][0]["message"]["content"]
    assert text == f"Ada Thorn designed it [1]. Maud sold it in 1950 [2]. {MARK}"

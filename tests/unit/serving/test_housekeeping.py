"""What front ends ask about a conversation is told from what people ask."""

from __future__ import annotations

import pytest

from wbrag.serving.api.housekeeping import LOOKED_AT, is_housekeeping

LONG = "USER: Who designed the gauge?\nASSISTANT: " + "The gauge measures tides. " * 600
ASKED = [
    f"### Task:\nWrite a title of 3 to 5 words for the talk below.\n### Output:\nJSON: {{}}\n<chat_history>\n{LONG}",
    '### Task:\nMake 1-3 tags for the themes.\n### Output:\nJSON: { "tags": [] }\n### Chat History:',
    '### Task:\nName 3-5 questions that the user may ask next.\n### Guidelines:\n- A "follow_ups" key holds an array.',
    "Please generate a short title summarizing our conversation without any lead-in, quotation marks or other text.",
    "Provide a concise, five-word-or-less title for the conversation. Only return the title itself.",
    f"Provide a concise title for the conversation, five words or less, no punctuation.\n\nConversation:\n{LONG}",
    "Summarize the discussion briefly in 200 words or less to use as a prompt for future context.",
    "Analyze this conversation and provide: 1. its language 2. a concise title (5 words or less, no punctuation)",
    "使用四到五个字直接返回这句话的简要主题，不要解释、不要标点",
]
NOT = [
    "Who wrote the title song of the film?",
    "What is the title of the chat show that ran in 1953?",
    "Summarize the conversation between Ada Thorn and the council about the gauge.",
    "Generate a list of the gauges, with the title of each report.",
    "### Task: what does this heading mean in the manual?",
    "Give me three words for rain.",
    "Create a topic overview of tide gauges",
    "",
]


@pytest.mark.parametrize("text", ASKED)
def test_front_ends_ask_about_the_conversation(text: str) -> None:
    assert is_housekeeping(["Who designed the gauge?", text])
    assert not is_housekeeping([text, "Who designed the gauge?"]), "the last message counts"


@pytest.mark.parametrize("text", NOT)
def test_people_ask_about_the_world(text: str) -> None:
    assert not is_housekeeping([text])


def test_long_and_odd_texts_are_read_in_no_time() -> None:
    for text in ("generate " * 60_000, "### Task:" + "\n" * 500_000, "title " * 100_000, "five " * LOOKED_AT * 9):
        assert not is_housekeeping([text])

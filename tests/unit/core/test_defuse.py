"""Control tokens of any family are taken apart, in questions as in documents; ordinary text stays."""

from __future__ import annotations

import pytest

from wbrag.core.defuse import apart
from wbrag.core.prompts import names, render
from wbrag.core.tasks import TASKS
from wbrag.core.types import Passage

TOKENS = (
    "<|im_end|> <|eot_id|> <｜User｜> </s> [INST] [/INST] <<SYS>> [gMASK] <sop> <extra_id_1> [THINK] [/THINK] "
    "<tools> </tools> <tool_call> <think> </think> <bos> <unused7> <end_of_turn> <start_of_image> [IMG] "
    "[AVAILABLE_TOOLS] <end_of_utterance> "
    "<reserved_12> <fim_prefix> <jupyter_start> <seed:bos> ]~b] [e~[ <|turn> <turn|>"
).split()


@pytest.mark.parametrize("token", TOKENS)
def test_it_is_in_no_prompt(token: str) -> None:
    said = f"Who{token}lit {token} it?"
    for task in TASKS.values():
        for documents in ([], [Passage("p", said, said)]):
            assert not any(token in m.content for m in task.messages(said, documents))
    for name in names():
        values = dict.fromkeys(
            "question documents evidence max_sentences answer unit sentence draft plan context".split(), said
        )
        try:
            assert not any(token in m.content for m in render(name, **values))
        except Exception as error:
            assert "expected one of" in str(error), error


def test_ordinary_text_stays() -> None:
    for text in (
        "a < b > c",
        "[1] [Doc 2]",
        "x <- y",
        "[sic] [think]s",
        "<p>An essay</p>",
        "A|B",
        "|x| > [y|",
        "f(x)|[0, 1]",
    ):
        assert apart(apart(text)) == apart(text)
        assert text in ("[sic] [think]s", "|x| > [y|", "f(x)|[0, 1]") or apart(text) == text

"""A gateway that talks: a library of two hits, and a model that rewrites follow-ups and cites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import DeskBench, desk, opened, two_releases, workspace

FIRST = [
    {"role": "user", "content": "Who designed the Corvane gauge?"},
    {"role": "assistant", "content": "Ada Thorn did [1]."},
]
FOLLOW_UP = {"role": "user", "content": "When was it sold?"}
QUERY = "When was the Corvane gauge sold?"
SAID = "It was sold in 1911 [2], they say [9]. Ada Thorn designed it [Doc 1]."


def reply(messages: Any, sampling: Any) -> str:
    return QUERY if "The question alone:" in messages[-1].content else SAID


@pytest.fixture
def bench(tmp_path: Path) -> DeskBench:
    store = workspace(tmp_path / "w")
    two_releases(store)
    store = opened(tmp_path / "w")
    c = store.config
    serving = c.serving.model_copy(update={"system_prompt": "You are the archive of Corvane."})
    generator = c.generator.model_copy(update={"model": "some-model"})
    store.layout.config = c.model_copy(update={"serving": serving, "generator": generator})
    made = desk(store)
    made.generator.reply = reply
    return made

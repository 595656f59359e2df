"""What a search refuses before it loads anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostless import open_life
from wbrag.core.errors import UsageError


@pytest.mark.parametrize("question", ["", " \n\t"])
def test_no_question(tmp_path: Path, question: str) -> None:
    with open_life(str(tmp_path)) as w:
        with pytest.raises(UsageError, match="expected a question, found no text: write one"):
            w.search(question)
        with pytest.raises(UsageError, match="expected a question, found no text: write one"):
            w.ask(question)


@pytest.mark.parametrize("k", [0, -1])
def test_no_hits(tmp_path: Path, k: int) -> None:
    with open_life(str(tmp_path)) as w, pytest.raises(UsageError, match=f"expected a k of at least 1, found {k}"):
        w.search("Who?", k)

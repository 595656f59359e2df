"""The demo's own settings: bfloat16 for its own model alone, and never against what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from wbrag.cli.demo import run
from wbrag.core.config import load


@pytest.mark.parametrize(
    ("multiplies", "asked", "dtype"),
    [
        (True, {}, "bfloat16"),
        (False, {}, "auto"),
        (True, {"dtype": "float32"}, "float32"),
        (True, {"model": "Qwen/Qwen3-0.6B"}, "auto"),
        (True, {"backend": "openai", "base_url": "http://localhost:1/v1"}, "auto"),
    ],
)
def test_the_dtype_of_the_demo(
    monkeypatch: pytest.MonkeyPatch, multiplies: bool, asked: dict[str, Any], dtype: str
) -> None:
    monkeypatch.setattr(run, "multiplies_bfloat16", lambda: multiplies)
    before = load(generator=asked)
    after = run.in_bfloat16(before)
    assert after.generator.dtype == dtype
    assert after == before.model_copy(update={"generator": before.generator.model_copy(update={"dtype": dtype})})

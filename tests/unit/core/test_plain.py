"""What data says is shown, and never obeyed: neither by rich, nor by a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys
from contextlib import redirect_stdout
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.cli.main import _Plain, _tell, main
from wbrag.cli.render import show
from wbrag.core.plain import escaped, plain
from wbrag.core.progress import bar

NASTY = ["[/x]", "[/INST]", "[/quote]", "[link=https://evil.example]here[/link]", "[bold red]", "a[", "\\[b]", "[[/]]"]
ORDERS = "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07here\x1b]8;;\x07 \x9b2J \x07 \u202egnirts\r"


def shown(result: Any) -> str:
    with redirect_stdout(io.StringIO()) as out:
        show(result)
    return out.getvalue()


@pytest.mark.parametrize("text", NASTY)
def test_markup_is_text(text: str) -> None:
    for result in (
        [{"id": "u1", "title": text}],
        {"title": text},
        [(text, [text], [[text]])],
        [{text: 1}],
        {text: [{"a": text}]},
    ):
        assert text in shown(result)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_nothing_is_obeyed(text: str) -> None:
    for result in ([{"id": text}], {text: text}, [(text, ["a"], [[text]])], text):
        out = shown(result)
        assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in out)


def test_everywhere_a_word_of_the_data_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain(ORDERS) == "[31mred[0m ]8;;https://evil.examplehere]8;; 2J  gnirts"
    with bar(f"answering {ORDERS}") as update:
        update(1, 2)
    assert main(["units", "show", ORDERS, "--workspace", "/none"]) != 0
    record = logging.LogRecord("a", logging.WARNING, "", 0, "found %s", (ORDERS,), None)
    print(_Plain().format(record), file=sys.stderr)
    told = capsys.readouterr()
    assert not set("\x1b\x9b\x07\r\u202e") & set(told.out + told.err) and "evil.example" in told.err


def test_json_keeps_what_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    _tell({"title": ORDERS, "ü": "ñ"}, True)
    out = capsys.readouterr().out
    assert json.loads(out) == {"title": ORDERS, "ü": "ñ"} and "ñ" in out and "\x9b" not in out
    assert escaped('"a"') == '"a"'

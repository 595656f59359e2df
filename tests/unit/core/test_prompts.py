"""Prompt files: shadowing, filling in, versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbrag.core.errors import UsageError, WbragError
from wbrag.core.prompts import RECORDED, load, names, render, version
from wbrag.core.tasks import task
from wbrag.core.types import Message


def test_a_folder_shadows_one_file(tmp_path: Path) -> None:
    (tmp_path / "qa.closed.txt").write_text("Be brief: {question}\n", encoding="utf-8")
    folder = str(tmp_path)
    assert task("qa").messages("why?", [], folder) == [Message("user", "Be brief: why?")]
    assert load("qa.rag", folder) == load("qa.rag")
    assert load("nq.closed", folder) == load("nq.closed")
    assert load("qa.closed") != load("qa.closed", folder)


def test_system_and_user_part(tmp_path: Path) -> None:
    (tmp_path / "both.txt").write_text("S {a}\n---\nU {b}\n---\nrest", encoding="utf-8")
    assert render("both", str(tmp_path), a="x", b="y") == [Message("system", "S x"), Message("user", "U y\n---\nrest")]


def test_values_are_not_filled_in_again(tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text("{a} {b} {not a name} {}", encoding="utf-8")
    [message] = render("twice", str(tmp_path), a="{b}", b=r"\1 {a}")
    assert message.content == r"{b} \1 {a} {not a name} {}"


def test_a_separator_in_a_value_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("{a}", encoding="utf-8")
    assert render("plain", str(tmp_path), a="x\n---\ny") == [Message("user", "x\n---\ny")]


def test_an_unknown_name_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.txt").write_text("{qestion}", encoding="utf-8")
    with pytest.raises(WbragError, match=r"wrong\.txt uses \{qestion\}, expected one of documents, question"):
        render("wrong", str(tmp_path), question="q", documents="d")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for folder in (None, str(tmp_path)):
        with pytest.raises(UsageError, match=r"nothing\.txt"):
            load("nothing", folder)


def test_version_follows_the_text(tmp_path: Path) -> None:
    first, second, same = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    for folder, text in ((first, "one"), (second, "two"), (same, load("evidence") + "\n")):
        folder.mkdir()
        (folder / "evidence.txt").write_text(text, encoding="utf-8")
    assert len({version((), folder) for folder in (None, str(first), str(second))}) == 3
    assert version() == version(["rewrite", "evidence"]) == version((), str(same))


def test_a_newer_prompt_counts_only_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "later.txt").write_text("Say it.", encoding="utf-8")
    assert version((), str(tmp_path)) == version()
    assert version(["later"], str(tmp_path)) != version()
    assert set(RECORDED) <= set(names())

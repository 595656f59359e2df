"""Rules of the test suite: helpers live in tests/support alone, and tests/unit mirrors the rooms."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent


def imported(file: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_no_test_imports_another() -> None:
    modules = {file.stem for file in TESTS.rglob("*.py") if TESTS / "support" not in file.parents}
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in TESTS.rglob("*.py")
        for name in imported(file)
        if not name.startswith(("tests.support", "wbrag"))
        and (name.startswith((".", "tests")) or name.rpartition(".")[2] in modules)
    ]
    assert not wrong, "expected helpers in tests/support alone: move what is shared there"


def test_unit_tests_mirror_the_rooms() -> None:
    folders = {file.parent.relative_to(TESTS / "unit") for file in (TESTS / "unit").rglob("test_*.py")}
    strangers = sorted(str(f) for f in folders if not ((ROOT / "wbrag" / f).is_dir() or (ROOT / f).is_dir()))
    assert not strangers, "expected a folder of tests/unit for a room of wbrag or a folder of the repository"


def test_no_test_draws_otherwise_in_every_process() -> None:
    """`hash` of a text differs between processes, as does what an unseeded generator draws."""
    drawn = re.compile(r"(?<![\w.])hash\(|default_rng\(\)|random\.Random\(\)|(?<![\w.])random\.(?!Random\b)[a-z]+\(")
    wrong = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in TESTS.rglob("*.py")
        if TESTS / "drill" not in file.parents and file != Path(__file__)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if drawn.search(line)
    ]
    assert not wrong, "expected draws that are the same in every process: crc32 of a text, or a seeded generator"


def test_no_two_test_files_have_one_name() -> None:
    names = Counter(file.name for file in TESTS.rglob("test_*.py"))
    twice = sorted(name for name, count in names.items() if count > 1)
    assert not twice, "expected each name once: pytest takes the second file for the first"

"""Wrong input at the command line: one sentence on stderr, the right exit code, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wbrag.cli.main import main

GOOD = '{"id": "a", "contents": "A\\nText of a."}\n'
ASKED = '{"id": "q", "question": "Who?", "golden_answers": ["she"]}\n'


def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main([*arguments, "--workspace", str(tmp_path / "w")])
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("wbrag: ")]
    assert len(lines) == 1, captured.err
    return code, lines[0]


@pytest.mark.parametrize(
    ("arguments", "content", "code", "said"),
    [
        (["ingest", "corpus", "FILE"], None, 1, "found nothing"),
        (["ingest", "corpus", "FILE"], "", 1, "expected a corpus"),
        (["ingest", "corpus", "FILE"], GOOD + "{\n", 1, "line 2"),
        (["ingest", "corpus", "FILE"], GOOD + GOOD.replace("of a", "of b"), 1, "different text"),
        (["ingest", "corpus", "FILE", "--format", "csv"], "id,title\na,A\n", 1, "text"),
        (
            ["ingest", "examples", "FILE", "--name", "n", "--split", "s"],
            ASKED.replace('["she"]', "[]"),
            1,
            "golden answer",
        ),
        (["ingest", "examples", "FILE", "--name", "n", "--split", "s", "--task", "nqq"], ASKED, 2, "'nq'"),
        (["ingest", "examples", "FILE", "--name", "../n", "--split", "s"], ASKED, 2, "plain name"),
        (["index"], None, 1, "wbrag ingest corpus"),
        (["enrich", "--examples", "nq/train"], None, 1, "wbrag ingest examples"),
        (["enrich"], None, 2, "--examples"),
        (["publish"], None, 1, "wbrag index"),
        (["search", "who"], None, 1, "wbrag index"),
        (["releases", "rollback", "r0001"], None, 1, "none yet"),
        (["releases", "show", "latest"], None, 1, "wbrag publish"),
        (["units", "show", "wb-0"], None, 1, "wbrag units list"),
        (["units", "list", "--enrich.tau_z", "1"], None, 2, "'tau_s'"),
        (["units", "list", "--enrich.tau_s", "high"], None, 2, "enrich.tau_s"),
        (["units", "list", "--config", "no.yaml"], None, 2, "no.yaml"),
        (["ask", "who", "--generator.model", "./no-such-model"], None, 2, "no-such-model"),
    ],
)
def test_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], content: str | None, code: int, said: str
) -> None:
    file = tmp_path / "input.jsonl"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    found, line = run(tmp_path, capsys, *(str(file) if a == "FILE" else a for a in arguments))
    assert found == code, line
    assert said in line
    left = [path for path in (tmp_path / "w").rglob("*") if path.is_file()] if (tmp_path / "w").exists() else []
    assert left == []


def test_an_unknown_model_folder_is_refused_before_any_work() -> None:
    from wbrag.core.config import load
    from wbrag.core.errors import UsageError
    from wbrag.generators import build

    with pytest.raises(UsageError, match="no-such-model"):
        build(load(generator={"model": "./no-such-model"}))
    with pytest.raises(UsageError, match="base_url"):
        build(load(generator={"backend": "openai"}))


def test_questions_without_answers_are_for_the_judge_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.jsonl").write_text('{"question": "Who?"}\n{"question": "When?"}\n', encoding="utf-8")
    asked = ["ingest", "examples", str(tmp_path / "log.jsonl"), "--name", "log", "--split", "may"]
    assert run(tmp_path, capsys, *asked)[0] == 1
    assert main([*asked, "--unlabelled", "--workspace", str(tmp_path / "w"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2
    for verb, code in (("enrich", 2), ("evaluate", 2), ("enrich --enrich.gate_metric judge", 1)):
        found, line = run(tmp_path, capsys, *verb.split(), "--examples", "log/may")
        assert found == code and ("found 2 without" if code == 2 else "wbrag index") in line


def test_json_on_stdout_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.jsonl").write_text(GOOD, encoding="utf-8")
    assert main(["ingest", "corpus", str(tmp_path / "c.jsonl"), "--workspace", str(tmp_path / "w"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1


def test_unknown_verbs_and_options_are_usage_errors() -> None:
    for arguments in (["fly"], ["index", "--bogus"], []):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


def lines(tmp_path: Path, *texts: str) -> list[str]:
    file = tmp_path / "night.txt"
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return ["run", str(file)]


def test_several_commands_are_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.jsonl").write_text(GOOD, encoding="utf-8")
    asked = lines(tmp_path, "# the corpus", f"ingest corpus '{tmp_path}/c.jsonl'  # one row", "", "units list")
    assert main([*asked, "--workspace", str(tmp_path / "w"), "--json"]) == 0
    corpus, units = map(json.loads, capsys.readouterr().out.splitlines())
    assert (corpus["rows"], units) == (1, [])


def test_the_commands_of_a_run_use_one_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wbrag.workspace import Workspace

    seen: list[Workspace] = []
    monkeypatch.setattr(Workspace, "index", lambda workspace: seen.append(workspace) or {})
    assert main([*lines(tmp_path, "index", "index"), "--workspace", str(tmp_path / "w"), "--json"]) == 0
    assert len(seen) == 2 and seen[0] is seen[1], "models start once"


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("units list --seed 2", "night.txt 2: expected a verb with its own flags"),
        ("units list --workspace elsewhere", "night.txt 2: expected a verb with its own flags"),
        ("run other.txt", "night.txt 2: expected a verb with its own flags"),
        ("search 'who", "night.txt 2: expected words and closed quotes"),
    ],
)
def test_a_bad_line_stops_a_run_before_its_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: str, said: str
) -> None:
    code, line = run(tmp_path, capsys, *lines(tmp_path, f"ingest corpus {tmp_path}/none.jsonl", last))
    assert code == 2 and said in line


def test_a_run_stops_at_the_line_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = run(tmp_path, capsys, *lines(tmp_path, "search who", "units list"))
    assert code == 1 and "night.txt 1: expected an index" in line

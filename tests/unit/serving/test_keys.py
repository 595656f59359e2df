"""Keys: made once, kept as hashes, seen by every process; the secret that signs the pages' cookies."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from wbrag.cli.main import main
from wbrag.core.errors import UsageError
from wbrag.serving.keys import Keys, session_secret


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_a_key_is_shown_once_and_kept_as_its_hash(keys: Keys) -> None:
    token = keys.add("ada", "reviewer")
    assert len(token) > 43 and token not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    found = keys.find(token)
    assert found is not None and (found.name, found.role) == ("ada", "reviewer")
    assert keys.find(token + "x") is None and keys.find("") is None and keys.find("\ud800") is None
    keys.add("bob", "admin")
    keys.remove("ada")
    assert keys.find(token) is None and [key.name for key in keys.all()] == ["bob"]


def test_another_process_sees_a_new_key_at_once(keys: Keys, tmp_path: Path) -> None:
    assert keys.all() == []
    token = Keys(tmp_path).add("ada", "reader")
    assert keys.find(token) is not None
    Keys(tmp_path).remove("ada")
    assert keys.find(token) is None


@pytest.mark.parametrize(("name", "role"), [("", "reader"), ("a b", "reader"), ("x" * 65, "reader"), ("ada", "king")])
def test_a_senseless_key_is_refused(keys: Keys, name: str, role: str) -> None:
    with pytest.raises(UsageError):
        keys.add(name, role)
    assert not keys.path.exists()


def test_a_name_is_used_once_and_an_unknown_one_is_named(keys: Keys) -> None:
    keys.add("ada", "reader")
    with pytest.raises(UsageError, match="'ada' in use"):
        keys.add("ada", "admin")
    with pytest.raises(UsageError, match="did you mean 'ada'"):
        keys.remove("ad")


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*line: str) -> Any:
        assert main(["keys", *line, "--workspace", str(tmp_path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    added = run("add", "--name", "ada", "--role", "reader")
    assert Keys(tmp_path).find(added["key"]) is not None
    assert [(key["name"], key["role"]) for key in run("list")] == [("ada", "reader")]
    assert run("remove", "ada") == {"removed": "ada"} and run("list") == []
    assert main(["keys", "add", "--name", "ada", "--role", "king", "--workspace", str(tmp_path)]) == 2


def test_the_session_secret_is_made_once_and_private(tmp_path: Path) -> None:
    secret = session_secret(tmp_path / "new")
    assert len(secret) == 64 and session_secret(tmp_path / "new") == secret
    [file] = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

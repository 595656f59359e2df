"""deploy/compose: its parts fit each other and the image, and what prepares it does so once. It is not started here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.desk import two_releases, workspace
from wbrag.core.config import load
from wbrag.serving.keys import Keys

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "wbrag" in service["image"]]


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_each_profile_is_whole(profile: str) -> None:
    started = {name: s for name, s in SERVICES.items() if profile in s.get("profiles", [profile])}
    assert len(started) == 3, "what prepares, the endpoint, the front end"
    for service in started.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in started or how.get("required") is False, f"{other} is not in the profile"
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in COMPOSE["volumes"]
    [endpoint] = [s for name, s in started.items() if name.startswith("endpoint")]
    assert endpoint["networks"]["default"]["aliases"] == ["wbrag"] and "wbrag:8000" in str(SERVICES["open-webui"])
    assert "readyz" in str(endpoint["healthcheck"]["test"])
    assert "COMPOSE_PROFILES=cpu" in (FOLDER / ".env").read_text()


def test_the_images_are_those_of_the_dockerfile() -> None:
    built = re.findall(r"docker build .*?(?:--build-arg SET=(\S+) )?-t (\S+)", (ROOT / "deploy/Dockerfile").read_text())
    known = {tag: name or "gpu" for name, tag in built}
    for name in OURS:
        build = SERVICES[name]["build"]
        assert known[SERVICES[name]["image"]] == build["args"]["SET"]
        assert (FOLDER / build["context"] / build["dockerfile"]).is_file()


def test_nothing_is_open_but_to_this_machine_and_nothing_is_root() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert "user" not in service and not service.get("privileged")
    assert all(SERVICES[name]["cap_drop"] == ["ALL"] for name in OURS)


def test_the_front_end_holds_its_own_key_alone() -> None:
    mounted = {volume.partition(":")[0] for volume in SERVICES["open-webui"]["volumes"]}
    assert mounted == {"webui", "chat-key"}


def test_its_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OURS:
        for variable, value in SERVICES[name]["environment"].items():
            monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    assert load().serving.host == "0.0.0.0" and load().workspace == "/data/demo"


def test_keys_are_made_once_and_written_down(tmp_path: Path) -> None:
    store = workspace(tmp_path / "w")
    two_releases(store)
    places = {name: tmp_path / name for name in ("keys", "chat-key")}
    for place in places.values():
        place.mkdir()
    scripts = str(Path(sys.executable).parent)
    own = {"PATH": f"{scripts}:/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    own |= {"WBRAG_WORKSPACE": str(tmp_path / "w"), "KEYS": str(places["keys"]), "CHAT_KEY": str(places["chat-key"])}

    def prepare() -> dict[str, str]:
        done = subprocess.run(
            ["bash", str(FOLDER / "prepare.sh")], env=own, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return {file.name: file.read_text().strip() for place in places.values() for file in place.iterdir()}

    first = prepare()
    roles = {key.name: key.role for key in Keys(tmp_path / "w").all()}
    assert roles == {"open-webui": "reader", "admin": "admin"} and set(first) == set(roles)
    assert [file.name for file in places["chat-key"].iterdir()] == ["open-webui"]
    assert (places["keys"] / "admin").stat().st_mode & 0o077 == 0, "the front end's machine reads no other's key"
    assert prepare() == first, "a second start changes nothing"
    (tmp_path / "keys" / "admin").unlink()
    again = prepare()
    assert again["open-webui"] == first["open-webui"] and again["admin"] != first["admin"]
    assert len(Keys(tmp_path / "w").all()) == 2

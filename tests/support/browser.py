"""Headless Chromium from the command line; tests that need it skip where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --window-size=1200,1600"
).split()


def screenshot(page: Path, picture: Path, *, dark: bool = False) -> Path:
    """A picture of `page` in the light or the dark colour scheme."""
    scheme = ["--force-dark-mode"] if dark else []
    _chromium(picture.parent / f"profile-{picture.stem}", *scheme, f"--screenshot={picture}", page.as_uri())
    return picture


def rendered(page: Path, profile: Path) -> str:
    """The page's DOM after Chromium has read it."""
    return _chromium(profile, "--dump-dom", page.as_uri())


def _chromium(profile: Path, *arguments: str) -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    command = [found, *FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

"""A disk that fills up while publishing, at every page: one sentence, the old release answers, nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.mortal import Mortals
from tests.support.outcome import one_sentence

pytestmark = pytest.mark.integration
PAGES = range(16)  # left on the disk
OWN_DISKS = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*OWN_DISKS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode != 0,
    reason="this machine lets nobody mount a RAM disk of their own",
)
def test_a_disk_that_fills_up_while_publishing(tmp_path: Path) -> None:
    source, publish = str(tmp_path / "source"), ["publish", "--policy", "manual"]
    with Mortals("tests.support.life", within=OWN_DISKS) as mortals:
        for step, arguments in (
            ("make", {}),
            ("shelve", {"first": 0, "last": 6}),
            ("publish", {"policy": "auto"}),
            ("shelve", {"first": 6, "last": 10}),
            ("check", {}),
            ("approve", {}),
        ):
            mortals.run(step, folder=source, **arguments)
        before = mortals.run("portrait", folder=source).value
        unbroken = shutil.copytree(source, tmp_path / "unbroken")
        mortals.run("command", folder=str(unbroken), line=publish)
        expected = mortals.run("portrait", folder=str(unbroken)).value

        def filled(pages: int) -> bool:
            """Whether the disk was full before the release stood."""
            found = mortals.run(
                "on_a_full_disk", folder=str(tmp_path / f"disk-{pages}"), source=source, spare=pages, line=publish
            ).value
            return whole(pages, found, before, expected)

        with ThreadPoolExecutor(2) as pool:
            full = list(pool.map(filled, PAGES))
    assert full[0] and not full[-1], "the disk was never full, or always"


def whole(pages: int, found: dict[str, Any], before: dict[str, Any], expected: dict[str, Any]) -> bool:
    first, strays = found["first"], found["after"].pop("strays")
    found["in the end"].pop("strays")
    assert not first["ray"] and not found["second"]["ray"], "Ray was started, and there is nothing to embed"
    assert found["second"]["code"] == 0, f"{pages} pages: {found['second']['said']}"
    assert found["in the end"] == expected, f"{pages} pages: published with room, it is another release"
    assert not any("index/." in stray for stray in strays), f"{pages} pages: {strays} were left"
    if first["code"] == 0:
        assert found["after"] == expected
        return False
    assert first["code"] == 1 and "No space left" in one_sentence(first["said"]), f"{pages} pages: {first}"
    assert found["after"] == before, f"{pages} pages: half of a release was written"
    return True

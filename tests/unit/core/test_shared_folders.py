"""What one user writes another may read, as far as the umask says: one builds an index, another serves it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wbrag.core.io.files import folder_in_one_step


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o027, 0o750)])
def test_a_folder_has_the_modes_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with folder_in_one_step(tmp_path / "index") as scratch:
            (scratch / "shard").write_text("x", encoding="utf-8")
    finally:
        os.umask(before)
    assert (tmp_path / "index").stat().st_mode & 0o777 == mode

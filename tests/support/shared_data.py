"""The real public data beside the repository, which the repository never needs: checks that use it skip without."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(os.environ.get("WBRAG_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
BENCH = SHARED / "small-bench"
ABSENT = f"no shared data at {SHARED}; set WBRAG_SHARED_DATA"

"""HTTP client helpers: API keys from the environment, and `Retry-After` in seconds.

No message of an error holds a key.
"""

from __future__ import annotations

import email.utils
import math
import os
import time
from collections.abc import Mapping

from wbrag.core.errors import UsageError


def read_key(name: str) -> str:
    """The key in an environment variable, "" where unset. Raises `UsageError` on one that no header can carry."""
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and (key == "" or key.isprintable())):
        raise UsageError(f"the environment variable {name} must hold a key of printable ASCII characters")
    return key


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After`
    (https://www.rfc-editor.org/rfc/rfc9110#name-retry-after); None where there is no sensible value."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None

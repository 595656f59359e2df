"""Structured logging: one JSON object a line on stderr, with `extra={"fields": {...}}` in it.

A question is among the fields only where the operator records answers.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any


class JsonLines(logging.Formatter):
    """JSON escapes what could forge a second line. Fields that libraries hang on records are left out."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(fields, default=str)


def setup(level: int = logging.INFO) -> None:
    """Send what `wbrag.serving` logs to stderr; a second call changes nothing."""
    logger = logging.getLogger("wbrag.serving")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False

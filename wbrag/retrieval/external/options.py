"""Store options: `retriever.options` validated as the settings of a built-in store.

An option that is unknown or invalid is a `UsageError` that names it.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from wbrag.core.errors import UsageError, unknown
from wbrag.core.model_sections import Section
from wbrag.core.sections import RetrieverConfig

Options = TypeVar("Options", bound=Section)


def read_options(kind: type[Options], settings: RetrieverConfig) -> Options:
    """The options as a `kind`; raises `UsageError` that names the wrong one."""
    try:
        return kind(**settings.options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise unknown("setting in retriever.options", name, list(kind.model_fields)) from None
        raise UsageError(
            f"setting retriever.options.{name} of {settings.kind!r}: {first['msg'].lower()}; correct it"
        ) from None

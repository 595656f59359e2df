"""Read requests: which records of which file are wanted and how, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from wbrag.core.allowed import checked_filter, checked_groups
from wbrag.core.errors import UsageError, WbragError, unknown
from wbrag.core.io.files import Location, location
from wbrag.data.formats import FORMATS
from wbrag.data.parts import CORPUS_SCHEMA
from wbrag.data.source import Input, OnBad, check_on_bad, delimiter_of

FIELDS = {
    "corpus": [*CORPUS_SCHEMA.names, "contents", "groups"],
    "examples": ["id", "question", "golden_answers", "metadata"],
}


class ReadOptions(TypedDict, total=False):
    """How a file is read.

    `columns` maps wbrag's fields to the file's own; `delimiter` and `header` (the names of the columns of a file that
    has no header) are for tables of text; `on_bad` says whether a record that does not fit ends the reading (`stop`,
    the default) or is left out, counted and kept in the file `kept_in` (`skip`). Of a corpus `metadata` names the
    fields that are kept with each passage, and `groups` who may see those that name nobody. Records that `filter` does
    not let pass (see `wbrag.core.allowed.checked_filter`) are counted alone. `revision`: of a dataset on the hub.
    """

    columns: Mapping[str, str] | None
    delimiter: str
    header: Sequence[str]
    on_bad: OnBad
    kept_in: Location | None
    metadata: Sequence[str]
    groups: Sequence[str]
    filter: Mapping[str, Any] | None
    revision: str


def open_records(
    path: str | Location, format: str, kind: str, how: ReadOptions, unlabelled: bool = False
) -> tuple[Input, Iterator[tuple[str, Any]]]:
    """The input and the records that `format` reads from it with their places, once the request makes sense."""
    if format not in FORMATS:
        raise unknown("format", format, list(FORMATS))
    known, columns = FORMATS[format], how.get("columns") or {}
    reader = getattr(known, kind)
    if reader is None:
        raise UsageError(f"format {format!r} has no {kind}: expected one of {_able(kind)}")
    if columns and not known.mapped:
        raise UsageError(f"format {format!r} has fixed field names: use --columns with one of {_able('mapped')}")
    delimiter, header = delimiter_of(how.get("delimiter") or ""), tuple(how.get("header") or ())
    if (delimiter or header) and not known.table:
        raise UsageError(f"format {format!r} has no header and delimiter: use them with one of {_able('table')}")
    metadata, groups = tuple(how.get("metadata") or ()), tuple(sorted(checked_groups(how.get("groups") or ())))
    if metadata and not known.metadata:
        raise UsageError(f"format {format!r} has no metadata: use --metadata with one of {_able('metadata')}")
    revision, wanted = how.get("revision") or "", checked_filter(how.get("filter"))
    if revision and format != "hf":
        raise UsageError(f"expected --revision with the format hf, found {format!r}: leave it out")
    if wanted and not known.mapped:
        raise UsageError(f"format {format!r} has no filter: use --filter with one of {_able('mapped')}")
    if kind != "corpus" and (metadata or groups):
        raise UsageError("expected --metadata and --groups of a corpus, found them of examples: leave them out")
    for name in columns:
        if name not in FIELDS[kind]:
            raise unknown(f"{kind} column", name, FIELDS[kind])
    if format != "hf" and not location(path).exists():
        remedy = "give the folder, files below it are found" if set("*?[") & set(str(path)) else "check the path"
        raise WbragError(f"expected a {format} file at {path}, found nothing; {remedy}")
    on_bad = check_on_bad(how.get("on_bad") or "stop")
    given = Input(
        str(path),
        format,
        columns,
        unlabelled=unlabelled,
        table=known.table,
        delimiter=delimiter,
        header=header,
        on_bad=on_bad,
        one_split=kind == "examples",
        metadata=metadata,
        groups=groups,
        filter=wanted,
        revision=revision,
    )
    return given, reader(given)


def _able(what: str) -> str:
    return ", ".join(name for name, known in FORMATS.items() if getattr(known, what))

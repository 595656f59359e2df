"""Source: what a reader reads and how, how far it has come, and what it had to leave out.

A record that does not fit ends the reading, or is left out (`on_bad`); a question without an answer and a passage
without text are left out in any case. All that is left out is counted and, where a file is named, kept there with its
place and the reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, get_args

from wbrag.core.allowed import Allowed
from wbrag.core.errors import StoreError, UsageError, WbragError
from wbrag.core.io.files import Location, inside
from wbrag.data.opening import files_of
from wbrag.data.values import Values

R = TypeVar("R")
T = TypeVar("T")
OnBad = Literal["stop", "skip"]
Record = dict[str, Any]
Records = Iterator[tuple[str, Record]]

MISSHAPEN = (
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)  # what a reader trips over
MOST_KEPT = 256 << 20  # bytes of left-out records that are kept; the rest are counted alone
_SPLIT = re.compile(r"(?<![a-z])((?:train|test|dev|valid|eval)(?:set|ing|ation|uation)?)(?![a-z])")
DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "space": " "}

NO_ANSWER = "no golden answer"
NO_TEXT = "no text"
NO_QUESTION = "no question"
DOES_NOT_FIT = "does not fit"
OTHER_TEXT = "id used twice"


@dataclass(slots=True)
class Input:
    """What a reader reads. `columns` maps wbrag's field names to the file's own; `header` names a table's columns.

    `bytes_done` counts bytes of the file as stored (compressed, when it is), of `bytes_total`; both 0 for the hub.
    """

    path: str
    format: str = "readable"
    columns: Mapping[str, str] = field(default_factory=dict)
    unlabelled: bool = False  # questions alone are wanted, whatever answers the file has
    table: bool = False  # its columns come from a line of text
    delimiter: str = ""
    header: tuple[str, ...] = ()
    on_bad: OnBad = "stop"
    kept_in: Path | None = None  # a file for what is left out
    values: Values = field(default_factory=Values)
    left_out: Counter[str] = field(default_factory=Counter)  # by why
    one_split: bool = False  # a folder that holds train and test is none
    metadata: tuple[str, ...] = ()  # fields that are kept with each passage
    groups: tuple[str, ...] = ()  # who may see a passage that names nobody
    revision: str = ""  # of a dataset on the hub
    filter: str = ""  # records that it does not let pass are none; see `wbrag.core.allowed.checked_filter`
    filtered: int = 0  # records that did not
    tests: Mapping[str, Callable[[str], bool]] = field(init=False)
    found: set[str] = field(default_factory=set)  # those of `metadata` that a record had
    passed_over: list[str] = field(default_factory=list)  # files of the folder that are not read
    first: str = ""  # sentence about what was left out first
    bytes_total: int = 0
    finished: int = 0
    raw: BinaryIO | None = None
    size: int = 0  # of the file that is being read
    kept: int = 0  # bytes of `kept_in`

    def __post_init__(self) -> None:
        self.values.columns = self.columns
        self.tests = Allowed(None, self.filter).tests()

    @property
    def where(self) -> str:
        """The record that was read last."""
        return self.values.where

    @property
    def quarantined(self) -> int:
        return self.left_out.total()

    @property
    def bytes_done(self) -> int:
        try:
            return self.finished + (self.raw.tell() if self.raw and not self.raw.closed else 0)
        except OSError:  # a pipe has no position
            return self.finished

    def began(self, raw: BinaryIO, size: int) -> None:
        """The next file is `raw`, of so many bytes as stored."""
        self.finished += self.size
        self.raw, self.size, self.bytes_total = raw, size, max(self.bytes_total, self.finished + size)

    def files(self, path: Location, *endings: tuple[str, ...]) -> list[Location]:
        """The files that are read of `path`, a file or a folder."""
        found = files_of(path, *endings)
        names = [inside(file, path).lower() for file in found.files if file != path]
        splits = {split for name in names for split in _SPLIT.findall(name)}
        kinds = {next((k for k in ("train", "test") if s.startswith(k)), "dev") for s in splits}
        if self.one_split and len(kinds) > 1:
            raise WbragError(
                f"{path}: expected a folder of one split, found files of {', '.join(sorted(splits))}; give one of them"
            )
        self.passed_over += found.passed_over
        self.bytes_total = sum(file.stat().st_size for file in found.files)
        return found.files

    def check_metadata(self) -> None:
        """Raises `WbragError` where no record had a field that is to be kept."""
        if missing := [name for name in self.metadata if name not in self.found]:
            raise WbragError(
                f"{self.path}: expected records with the metadata {', '.join(missing)}, found none: check --metadata"
            )

    def ended(self) -> None:
        """All files were read."""
        self.raw, self.size, self.finished = None, 0, self.bytes_total

    def each(self, records: Iterable[tuple[str, R]], convert: Callable[[str, R], Iterable[T]]) -> Iterator[T]:
        """What `convert` makes of every record; one that it refuses is treated as `on_bad` says."""
        for where, record in records:
            self.values.where = where
            try:
                found = list(convert(where, record))
            except WbragError as error:
                self.refuse(error, record)
            except MISSHAPEN as error:
                self.refuse(misshapen(self.format, where, error), record)
            else:
                yield from found

    def refuse(self, error: WbragError, record: Any, why: str = DOES_NOT_FIT) -> None:
        """Raise `error`, or leave the record out."""
        if self.on_bad == "stop" or isinstance(error, StoreError):
            raise error
        self.leave_out(str(error), record, why)

    def leave_out(self, said: str, record: Any, why: str) -> None:
        """Count a record that is not read, and keep it with what is `said` of it."""
        self.left_out[why] += 1
        self.first = self.first or said
        if self.kept_in and self.kept < MOST_KEPT:
            line = json.dumps({"where": self.where, "why": said, "record": record}, default=str) + "\n"
            try:
                with self.kept_in.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise WbragError(f"cannot write {self.kept_in}: {error.strerror or error}") from None
            self.kept += len(line)


def misshapen(format: str, where: str, error: Exception) -> WbragError:
    """One sentence for what a reader tripped over."""
    found = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return WbragError(f"{where}: expected {format} records, found another shape ({found}); check the format")


def delimiter_of(text: str) -> str:
    """The character that `--delimiter` names. Raises UsageError for more than one."""
    found = DELIMITERS.get(text, text.replace("\\t", "\t"))
    if len(found) > 1 or found in ('"', "\n", "\r"):
        raise UsageError(f"expected a delimiter of one character or {', '.join(DELIMITERS)}, found {text!r}")
    return found


def check_on_bad(on_bad: str) -> OnBad:
    """`on_bad`, one of those that there are."""
    for known in get_args(OnBad):
        if on_bad == known:
            return known
    raise UsageError(f"expected on_bad stop or skip, found {on_bad!r}")

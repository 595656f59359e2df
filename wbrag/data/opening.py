"""Opening: files as they lie, told by what is in them: compressed in four ways, in folders, in UTF-8 or UTF-16.

The name of a file says nothing that its first bytes do not say better.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, inside, listed, location
from wbrag.data import bounds
from wbrag.data.values import named

HEAD = 512  # bytes that tell what a file is; tar has its mark at 257
TEXTS = (".jsonl", ".json", ".ndjson", ".jl")
TABLES = (".csv", ".tsv", ".txt", ".tab")
PACKED = (".gz", ".bz2", ".xz", ".zst")

Began = Callable[[BinaryIO, int], None]

_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")  # what the decoder makes of a byte that is none


class Packing(NamedTuple):
    name: str
    magic: bytes
    unpacked: Callable[[BinaryIO], BinaryIO]


def _zstd(raw: BinaryIO) -> BinaryIO:
    import pyarrow as pa

    return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")))


def _xz(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(lzma.LZMAFile(raw)))


PACKINGS = (
    Packing("gzip", b"\x1f\x8b", lambda raw: cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=raw)))),
    Packing("bzip2", b"BZh", lambda raw: cast(BinaryIO, io.BufferedReader(bz2.BZ2File(raw)))),
    Packing("xz", b"\xfd7zXZ\x00", _xz),
    Packing("zstd", b"\x28\xb5\x2f\xfd", _zstd),
)
PARQUET = b"PAR1"
OTHERS = {  # what is named where text was wanted, and what to do with it
    PARQUET: ("a Parquet file", "read it with --format parquet"),
    b"PK\x03\x04": ("a zip archive, or a spreadsheet", "unpack it, or export it as CSV"),
    b"ARROW1": ("an Arrow file", "write it as Parquet"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it"),
    b"Rar!": ("a rar archive", "unpack it"),
    b"\x04\x22\x4d\x18": ("an lz4 file", "unpack it, or pack it with zstd or gzip"),
    b"%PDF": ("a PDF file", "extract its text first"),
    b"SQLite format 3": ("an SQLite database", "export the table as CSV"),
    b"\xd0\xcf\x11\xe0": ("an Office file", "export it as CSV"),
}


def head_of(path: Location) -> bytes:
    """The first bytes of a file, unpacked; none of a pipe, which gives them once."""
    if isinstance(path, Path) and not path.is_file():
        return b""
    with open_binary(path) as stream:
        return stream.peek(HEAD)[:HEAD]


@contextmanager
def open_binary(path: str | Location, began: Began | None = None) -> Iterator[io.BufferedReader]:
    """`path`, unpacked where it is packed; `began` gets the stream as it is stored, and its bytes.

    Raises WbragError for a file that cannot be read, and for a broken one.
    """
    where = location(path)
    packing: Packing | None = None
    try:
        with where.open("rb") if isinstance(where, Path) else where.open_binary() as raw:
            if began:
                began(raw, where.stat().st_size)
            head = raw.peek(HEAD)
            packing = next((p for p in PACKINGS if head.startswith(p.magic)), None)
            yield cast(io.BufferedReader, packing.unpacked(raw) if packing else raw)
    except WbragError:
        raise
    except UnicodeError as error:
        raise WbragError(f"{path}: expected text, found other bytes ({error}); convert the file to UTF-8") from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or error
        if packing and not getattr(error, "errno", None):
            found = f"expected a whole {packing.name} file, found a broken one ({reason})"
            raise WbragError(f"{path}: {found}; fetch it again") from None
        raise WbragError(f"cannot read {path}: {reason}") from None


@contextmanager
def open_text(path: str | Location, began: Began | None = None, newline: str | None = None) -> Iterator[Iterator[str]]:
    """The lines of a text, none of them longer than `bounds.MAX_RECORD`; `not_utf8` tells of one that is no UTF-8."""
    with open_binary(path, began) as binary:
        head = binary.peek(HEAD)
        refuse_others(path, head)
        encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with io.TextIOWrapper(binary, encoding, errors="surrogateescape", newline=newline) as text:
            yield bounds.lines(text, path)


def not_utf8(line: str) -> str:
    """What is wrong with a line of `open_text` that holds bytes which are no UTF-8; empty where it holds none."""
    if line.isascii() or not (found := _NOT_UTF8.search(line)):
        return ""
    return f"expected UTF-8 text, found the byte 0x{ord(found[0]) - 0xDC00:x} as character {found.start() + 1}"


def refuse_others(path: str | Location, head: bytes) -> None:
    """Raises WbragError where these first bytes are of a kind that is no text."""
    for magic, (kind, remedy) in OTHERS.items():
        if head.startswith(magic):
            raise WbragError(f"{path}: expected text, found {kind}; {remedy}")
    if head[257:262] == b"ustar":
        raise WbragError(f"{path}: expected text, found a tar archive; unpack it and give the folder")


def files_of(path: Location, *endings: tuple[str, ...]) -> list[Location]:
    """The file itself, or those below the folder that have one of the first `endings` that any has, by name.

    Packed ones count by the name within. Hidden files and those that begin with `_`, as Spark's marks do, do not.
    """
    if not path.is_dir():
        return [path]
    files = [f for f in listed(path, "**/*") if not any(p[:1] in "._" for p in inside(f, path).split("/"))]
    for ends in endings:
        if wanted := [f for f in files if _unpacked_name(f.name).endswith(ends) and f.is_file()]:
            return wanted
    found, ends = named([inside(f, path) for f in files[:5]]) or "no files", sum(endings, ())
    raise WbragError(
        f"{path}: expected files that end in {', '.join(ends)} below the folder, found {found}; give the file itself"
    )


def _unpacked_name(name: str) -> str:
    return next((name.removesuffix(end) for end in PACKED if name.endswith(end)), name).lower()

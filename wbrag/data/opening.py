"""Opening: files as they lie, told by what is in them: compressed in four ways, in folders, in UTF-8 or UTF-16.

The name of a file says nothing that its first bytes do not say better.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO, cast

from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location, inside, listed, location
from wbrag.data import bounds
from wbrag.data.values import named

MOST_PACKED = 3  # times, one packing in the other
HEAD = 512  # bytes that tell what a file is; tar has its mark at 257
ROWS = (".parquet", ".pq")
TEXTS = (".jsonl", ".json", ".ndjson", ".jl")
TABLES = (".csv", ".tsv", ".txt", ".tab")
ABOUT = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"}  # the hub's, of a set
PACKED = (".gz", ".bz2", ".xz", ".zst")

Began = Callable[[BinaryIO, int], None]

_PART = re.compile(r"part-\d+")  # as Spark calls its texts


class Packing(NamedTuple):
    name: str
    magic: re.Pattern[bytes]
    unpacked: Callable[[BinaryIO], BinaryIO]


def _zstd(raw: BinaryIO) -> BinaryIO:
    import pyarrow as pa

    return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))


def _xz(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, lzma.LZMAFile(raw))


PACKINGS = (
    Packing("gzip", re.compile(rb"\x1f\x8b"), lambda raw: cast(BinaryIO, gzip.GzipFile(fileobj=raw))),
    Packing("bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE)"), lambda raw: cast(BinaryIO, bz2.BZ2File(raw))),
    Packing("xz", re.compile(rb"\xfd7zXZ\x00"), _xz),
    Packing("zstd", re.compile(rb"(\x28\xb5\x2f\xfd)|([\x50-\x5f]\x2a\x4d\x18)", re.DOTALL), _zstd),
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
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"),
    b"<!doctype html": ("a web page", "download the file itself"),
    b"<html": ("a web page", "download the file itself"),
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
            stream = raw
            for _ in range(MOST_PACKED):  # a file may unpack to itself
                if not (inner := next((p for p in PACKINGS if p.magic.match(stream.peek(HEAD))), None)):
                    break
                packing, stream = inner, io.BufferedReader(cast(io.RawIOBase, inner.unpacked(stream)))
            yield stream
    except WbragError:
        raise
    except UnicodeError as error:
        raise WbragError(f"{path}: expected text, found other bytes ({error}); convert the file to UTF-8") from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or error
        if packing and not getattr(error, "errno", None):
            said = f"expected a whole {packing.name} file, found a broken one ({reason})"
            raise WbragError(f"{path}: {said}; fetch it again") from None
        raise WbragError(f"cannot read {path}: {reason}") from None


def _mendable(error: UnicodeError) -> tuple[str, int]:
    """Half a surrogate pair, as some exporters write it, stays one; any other byte becomes what `not_utf8` knows."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    if error.encoding.startswith("utf-16"):
        return HALF, error.end
    units = _HALF_PAIRS.match(error.object, error.start)
    if units is None:
        return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end
    whole = units[0].decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\ufffd", HALF), units.end()


HALF, MENDABLE = "\ud800", "wbrag.mendable"
_HALF_PAIRS = re.compile(rb"(?:\xed[\xa0-\xbf][\x80-\xbf])+")
codecs.register_error(MENDABLE, _mendable)


@contextmanager
def open_text(path: str | Location, began: Began | None = None, newline: str | None = None) -> Iterator[TextIO]:
    """A text in UTF-8 or UTF-16; `bounds.not_utf8` tells of a piece of it that is neither."""
    with open_binary(path, began) as binary:
        head = binary.peek(HEAD)
        refuse_others(path, head)
        encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with io.TextIOWrapper(binary, encoding, errors=MENDABLE, newline=newline) as text:
            yield text


@contextmanager
def open_lines(path: str | Location, began: Began | None = None, newline: str | None = None) -> Iterator[Iterator[str]]:
    """The lines of a text, none of them longer than `bounds.MAX_RECORD`."""
    with open_text(path, began, newline) as text:
        yield bounds.lines(text, path)


def refuse_others(path: str | Location, head: bytes) -> None:
    """Raises WbragError where these first bytes are of a kind that is no text."""
    for magic, (kind, remedy) in OTHERS.items():
        if head.startswith(magic) or (magic[:1] == b"<" and head.lstrip().lower().startswith(magic)):
            raise WbragError(f"{path}: expected text, found {kind}; {remedy}")
    if head[257:262] == b"ustar":
        raise WbragError(f"{path}: expected text, found a tar archive; unpack it and give the folder")


def refuse_all_but_parquet(path: Location) -> None:
    """Raises WbragError where a file is text, or packed, and no Parquet."""
    with path.open("rb") if isinstance(path, Path) else path.open_binary() as raw:
        head = raw.peek(HEAD)
    if packing := next((p for p in PACKINGS if p.magic.match(head)), None):
        raise WbragError(f"{path}: expected a Parquet file, found one packed with {packing.name}; unpack it")
    kind = next((kind for magic, (kind, _) in OTHERS.items() if head.startswith(magic) and magic != PARQUET), "")
    if kind or head.lstrip()[:1] in (b"{", b"["):
        raise WbragError(
            f"{path}: expected a Parquet file, found {kind or 'JSON'}; read it with another --format, as jsonl"
        )


class Files(NamedTuple):
    """Files to be read, in the order of their names, and the names of those beside them that are not."""

    files: list[Location]
    passed_over: list[str]


def files_of(path: Location, *endings: tuple[str, ...]) -> Files:
    """The file itself, or those below the folder that have one of the first `endings` that any has.

    Packed ones count by the name within. Hidden files, those that begin with `_`, as Spark's marks do, and what the
    hub says of a set are passed over.
    """
    if not path.is_dir():
        return Files([path], [])
    files = {inside(f, path): f for f in (_walked(path) if isinstance(path, Path) else listed(path, "**/*"))}
    data = {name: f for name, f in files.items() if not any(p[:1] in "._" for p in name.split("/"))}
    for ends in endings:
        wanted = [name for name, f in data.items() if _ends(name, ends) and f.is_file()]
        if wanted:
            return Files([files[name] for name in wanted], [name for name in files if name not in wanted])
    found, ends = named(list(data)[:5]) or "no files", sum(endings, ())
    raise WbragError(
        f"{path}: expected files that end in {', '.join(ends)} below the folder, found {found}; give the file itself"
    )


def _walked(folder: Path) -> list[Location]:
    """Every file below, also behind links, but no folder twice."""
    found: list[Location] = []
    seen = {os.path.realpath(folder)}
    for at, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(at, name)) not in seen]
        seen.update(os.path.realpath(os.path.join(at, name)) for name in folders)
        found += [Path(at) / name for name in names]
    return sorted(found, key=str)


def unpacked_name(name: str) -> str:
    """The name of what a file holds: without the ending that says how it is packed."""
    return next((name.removesuffix(end) for end in PACKED if name.endswith(end)), name)


def _ends(name: str, ends: tuple[str, ...]) -> bool:
    plain = unpacked_name(name.rpartition("/")[2].lower())
    return plain not in ABOUT and (plain.endswith(ends) or bool(_PART.fullmatch(plain)))

"""Object-store paths (s3://, gs://): the part of pathlib's interface that wbrag uses.

The clients are pyarrow's own, which is installed anyway. A listing is never cached: other processes write too. An
object appears whole or not at all, and there is no rename, so that only whole files are ever put. Not on fsspec: there
`is_file` says no where the store is away, so that an outage would pass for a damaged index.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tenacity import wait_exponential, wait_random_exponential

from wbrag.core.errors import StoreError, UsageError, WbragError, said
from wbrag.core.retry import retried

T = TypeVar("T")
SCHEMES = ("s3", "gs")
TRIES = 5  # each with three of the client's own
PAUSES = wait_exponential(0.25) + wait_random_exponential(0.25)  # up to 0.5, 1, 2, 4 s, and at least half of that
CONNECT_S, ANSWER_S = 5, 60
DELTA_RETRIES = {"max_retries": "8", "retry_timeout": f"{ANSWER_S}s"}  # delta-rs's own client
ODD = re.compile(r"[#?%\[\]]")
BUFFER = 8 << 20  # bytes of a stream's read
FINAL = re.compile("NO_SUCH|ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|permission", re.IGNORECASE)


class Size(NamedTuple):
    st_size: int  # bytes
    st_mtime: float = 0.0  # seconds since 1970


@dataclass(frozen=True, order=True)
class ObjectPath:
    """`scheme://bucket/key`. Pure arithmetic until it is read or written; every failure is a `StoreError`."""

    scheme: str
    key: str  # with the bucket in front, without a slash at either end

    @staticmethod
    def parse(text: str) -> ObjectPath:
        scheme, _, rest = text.partition("://")
        parts = [part for part in rest.split("/") if part and part != "."]
        if scheme not in SCHEMES or not parts or ".." in parts:
            known = " or ".join(f"{name}://BUCKET/FOLDER" for name in SCHEMES)
            raise UsageError(f"expected a local path, {known}, found {text!r}: correct it")
        if odd := ODD.search(rest):  # delta-rs reads a URL: it would cut the name there, and write to another place
            raise UsageError(f"expected a location without #?%[], found {odd[0]!r} in {text!r}: choose another name")
        return ObjectPath(scheme, "/".join(parts))

    # -- names --------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __truediv__(self, more: str | Path) -> ObjectPath:
        return ObjectPath.parse(f"{self}/{more}")

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def parent(self) -> ObjectPath:
        return ObjectPath(self.scheme, self.key.rpartition("/")[0] or self.key)

    def with_suffix(self, suffix: str) -> ObjectPath:
        return self.parent / f"{self.stem}{suffix}"

    def resolve(self) -> ObjectPath:
        return self

    def expanduser(self) -> ObjectPath:
        return self

    def is_absolute(self) -> bool:
        return True

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing to make: a folder is what its objects' names begin with."""

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def filesystem(self) -> Any:
        """The `pyarrow.fs.FileSystem` that it lies in, one in a process."""
        return _filesystem(self.scheme, endpoint())

    def is_file(self) -> bool:
        return self._info().is_file

    def is_dir(self) -> bool:
        return self._info().type.name == "Directory"

    def exists(self) -> bool:
        return self._info().type.name != "NotFound"

    def stat(self) -> Size:
        """Raises `FileNotFoundError` where there is no such object."""
        info = self._info()
        if not info.is_file:
            raise FileNotFoundError(f"expected an object at {self}, found none")
        return Size(info.size, (info.mtime_ns or 0) / 1e9)

    def glob(self, pattern: str) -> list[ObjectPath]:
        """The objects below that match, in order, in one listing; `*` crosses no slash, `**/` at the front does."""
        from pyarrow.fs import FileSelector

        wanted = pattern.split("/")
        fixed = self
        while len(wanted) > 1 and "*" not in wanted[0]:
            fixed, wanted = fixed / wanted[0], wanted[1:]
        selector = FileSelector(fixed.key, recursive=len(wanted) > 1, allow_not_found=True)
        found = [ObjectPath(self.scheme, info.path) for info in self._call("list", _list, selector) if info.is_file]
        named = [(file, file.key[len(fixed.key) + 1 :].split("/")) for file in found]
        if wanted[0] == "**":
            wanted = wanted[1:]
            named = [(file, parts[-len(wanted) :]) for file, parts in named]
        return sorted(f for f, parts in named if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)))

    def open_binary(self) -> io.BufferedReader:
        """For reading, by ranges; each read is tried again as often as everything else here."""
        return io.BufferedReader(_Reader(self), BUFFER)

    def open_arrow(self) -> Any:
        """The same for pyarrow, which asks for the ranges that it needs."""
        import pyarrow as pa

        return pa.PythonFile(_Reader(self), mode="r")

    def read_bytes(self) -> bytes:
        return _Reader(self).readall()

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def fetch(self, local: Path) -> None:
        """Copy the whole of it to the file `local`."""
        with self.open_binary() as source, local.open("wb") as file:
            shutil.copyfileobj(source, file, BUFFER)

    # -- writing ------------------------------------------------------------------------------------------------

    def put(self, local: Path) -> None:
        """Write the whole of the file `local` in one step."""
        self._call("write", _put, self.key, local)

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok or self.is_file():
            self._call("delete", lambda files, key: files.delete_file(key), self.key)

    def _info(self) -> Any:
        return self._call("look at", lambda files, key: files.get_file_info(key), self.key)

    def _call(self, verb: str, call: Callable[..., T], *arguments: Any) -> T:
        """`call(filesystem, *arguments)`, again after a pause where the store was away or busy."""
        try:
            return retried(partial(call, self.filesystem, *arguments), TRIES, _may_pass, PAUSES)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise store_error(f"to {verb} {self}", error) from None


class _Reader(io.RawIOBase):
    """One object, read by ranges."""

    def __init__(self, path: ObjectPath) -> None:
        self.path, self.position = path, 0
        self.file: Any = path._call("read", lambda files, key: files.open_input_file(key), path.key)
        self.size: int = self.file.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.size - self.position)
        if wanted <= 0:
            return 0
        found: bytes = self.path._call("read", lambda _, *at: self.file.read_at(*at), wanted, self.position)
        buffer[: len(found)] = found
        self.position += len(found)
        return len(found)

    def readall(self) -> bytes:
        return self.read(self.size - self.position) or b""


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and not FINAL.search(str(error))


def store_error(wanted: str, error: BaseException) -> StoreError:
    """One sentence for what a client said."""
    return StoreError(
        f"expected {wanted}, found {said(error)}: check the bucket, the credentials and the endpoint, and do it again"
    )


def endpoint() -> str:
    """Where S3 is, if not at Amazon: `http://host:port`."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def delta_options(path: ObjectPath) -> dict[str, str]:
    """What delta-rs needs to know; credentials it finds where the other client does."""
    options = {"timeout": f"{ANSWER_S}s", "connect_timeout": f"{CONNECT_S}s"}
    options |= DELTA_RETRIES
    if path.scheme == "s3" and (url := endpoint()):
        options |= {"aws_endpoint_url": url, "aws_allow_http": str(url.startswith("http:")).lower(), **_region()}
    return options


def _region() -> dict[str, str]:
    """A store that is not Amazon's mostly has none, but the clients ask the machine for it if they are not told."""
    given = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return {"aws_region": given or "us-east-1"}


@cache
def _filesystem(scheme: str, url: str) -> Any:
    try:
        from pyarrow import fs

        if scheme == "gs":
            return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=ANSWER_S))
        where: dict[str, Any] = {}
        if url:
            protocol, _, host = url.rpartition("://")
            where = {"endpoint_override": host.rstrip("/"), "scheme": protocol or "https"}
            where["region"] = _region()["aws_region"]
        retry = fs.AwsStandardS3RetryStrategy(max_attempts=3)
        timeouts = {"connect_timeout": CONNECT_S, "request_timeout": ANSWER_S}
        return fs.S3FileSystem(**where, **timeouts, allow_delayed_open=True, retry_strategy=retry)
    except (ImportError, AttributeError):  # pyarrow gives the names only where it was built with them
        raise WbragError(
            f"expected a pyarrow that reads {scheme}://, found one built without: pip install pyarrow from its wheel"
        ) from None


def _list(files: Any, selector: Any) -> Any:
    return files.get_file_info(selector)


def _put(files: Any, key: str, local: Path) -> None:
    """In one write, so that nothing can fail between two and leave a beginning: the client closes what it opened."""
    import pyarrow as pa

    with files.open_output_stream(key, compression=None) as out:  # not by the name's ending
        if local.stat().st_size:
            with pa.memory_map(str(local)) as source:
                out.write(source.read_buffer())

"""Index manifest: shards named by their content, with the sha256 of every file. Written last, never changed.

A shard folder holds `vectors.faiss` and `passages.arrow`, row for row. FAISS loads a file with a flipped bit without
complaint, so nothing is opened before its sha256 has been compared with the manifest's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, sha256_of, write_atomically

FORMAT = 1
SHARES = "shares.json"  # beside the shards of the base: which blocks of the corpus each is made of, and what they share
TRAINED = "trained-"  # what the name of an empty index begins with that shards share


@dataclass(frozen=True)
class ShardFiles:
    folder: str  # relative to the index root
    count: int
    sha256: dict[str, str]  # file name -> hex digest


@dataclass(frozen=True)
class Keywords:
    """What is searched by words: the statistics of the base corpus, and an index for each shard, in their order."""

    statistics: ShardFiles
    shards: tuple[ShardFiles, ...]


@dataclass(frozen=True)
class Manifest:
    """What an index is made of. `encoder` is `encoder_fingerprint`, `dimension` the length of a vector."""

    encoder: str
    encoder_model: str
    dimension: int
    factory: str
    shards: tuple[ShardFiles, ...]
    keywords: Keywords | None = None  # `retrieval.hybrid`
    version: int = FORMAT

    @property
    def count(self) -> int:
        return sum(shard.count for shard in self.shards)

    @property
    def name(self) -> str:
        """Equal for equal contents."""
        vectors = [shard.sha256 for shard in self.shards]
        words = (self.keywords.statistics, *self.keywords.shards) if self.keywords else ()
        return fingerprint(vectors, *(files.sha256 for files in words))

    def only(self, place: int) -> Manifest:
        """The index of the one shard at `place`."""
        own = self.keywords and Keywords(self.keywords.statistics, (self.keywords.shards[place],))
        return replace(self, shards=(self.shards[place],), keywords=own)

    def write(self, path: Location) -> str:
        """Put the manifest at `path` in one step; returns its sha256."""
        data = asdict(self)
        if self.keywords is None:
            del data["keywords"]  # as manifests were before there were any
        text = json.dumps(data, indent=1, sort_keys=True) + "\n"
        write_atomically(path, text)
        return hashlib.sha256(text.encode()).hexdigest()

    @staticmethod
    def read(path: Location, sha256: str | None = None) -> Manifest:
        if not path.is_file():
            raise WbragError(f"expected an index manifest at {path}, found none: run `wbrag index`")
        raw = path.read_bytes()
        if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
            raise WbragError(f"expected the manifest {path} with sha256 {sha256[:12]}, found another: index again")
        data = json.loads(raw)
        if data.get("version") != FORMAT:
            raise WbragError(
                f"expected index format {FORMAT} in {path}, found {data.get('version')}: index again with this wbrag"
            )
        data["shards"] = _files(data["shards"])
        if found := data.get("keywords"):
            data["keywords"] = Keywords(ShardFiles(**found["statistics"]), _files(found["shards"]))
        return Manifest(**data)


def _files(shards: list[dict[str, Any]]) -> tuple[ShardFiles, ...]:
    return tuple(ShardFiles(**shard) for shard in shards)


AGAIN = "the shard is damaged; delete its folder and run `wbrag index` again"


def verify(root: Path, shard: ShardFiles, *, of: Location | None = None, again: str = AGAIN) -> Path:
    """The folder, once every file's sha256 has been found right; an error speaks of the copied folder `of`."""
    folder = root / shard.folder
    for name, expected in shard.sha256.items():
        found = sha256_of(folder / name) if (folder / name).is_file() else "no file"
        if found != expected:
            file = f"{of or folder}/{name}"
            raise WbragError(f"expected {file} with sha256 {expected[:12]}, found {found[:12]}: {again}")
    return folder

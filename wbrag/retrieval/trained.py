"""Trained retrievers: parts that learned, each in a folder named by its contents, and the manifest that names them.

A manifest is written last and never changed. It says what every part was made of and how it did on held-out questions;
a part is not loaded before its checksums have been compared, and none beside an encoder that it was not trained for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, digests, folder_in_one_step, listed, write_atomically
from wbrag.core.model_sections import RerankConfig
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.index.manifest import ShardFiles
from wbrag.retrieval.reranker import RerankerModel

FORMAT = 1
ADAPTER_FILE = "adapter.safetensors"
Kind = Literal["adapter", "reranker", "encoder"]


@dataclass(frozen=True)
class Part:
    """`made`: examples, counts, loss, settings, seed, generator. `held_out`: measures before and after, with p."""

    kind: Kind
    folder: str  # relative to the root of trained retrievers
    sha256: Mapping[str, str]  # file name -> hex digest
    made: Mapping[str, Any] = field(default_factory=dict)
    held_out: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedRetriever:
    """What stands between a question and the hits, beside the encoder that it was trained for.

    `better`: its newest part did better on held-out questions than what it was trained over, beyond chance.
    """

    encoder: str  # encoder_fingerprint
    encoder_model: str
    dimension: int
    parts: tuple[Part, ...]
    created_at: str
    parents: tuple[str, ...] = ()  # names of the manifests that it was trained over
    better: bool = False
    version: int = FORMAT

    @property
    def name(self) -> str:
        """Equal for equal parts that were measured alike."""
        parts = [(part.kind, dict(part.sha256), dict(part.held_out)) for part in self.parts]
        return fingerprint(parts, self.parents, self.better)

    def described(self) -> str:
        """Its parts and its name, for people."""
        return f"{' and '.join(part.kind for part in self.parts)} {self.name}"

    def part(self, kind: Kind) -> Part | None:
        return next((part for part in self.parts if part.kind == kind), None)

    def write(self, root: Location) -> Location:
        """Put the manifest below `root` in one step; returns its path.

        One that is there stays: releases name its very bytes.
        """
        path = root / f"{self.name}.json"
        if not path.is_file():
            write_atomically(path, json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")
        return path

    @staticmethod
    def read(path: Location, sha256: str | None = None) -> TrainedRetriever:
        """Raises `WbragError` for a missing, a changed or a foreign manifest."""
        if not path.is_file():
            raise WbragError(f"expected a trained retriever's manifest at {path}, found none: train it again")
        raw = path.read_bytes()
        if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
            raise WbragError(f"expected the manifest {path} with sha256 {sha256[:12]}, found another: train it again")
        try:
            data = json.loads(raw)
            version = data.pop("version")
            parts = tuple(Part(**part) for part in data.pop("parts"))
            found = TrainedRetriever(**data | {"parts": parts, "parents": tuple(data["parents"])})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise WbragError(
                f"expected a trained retriever's manifest in {path}, found another file: remove it"
            ) from None
        if version != FORMAT:
            raise WbragError(f"expected format {FORMAT} in {path}, found {version}: train it again with this wbrag")
        return found

    def check_encoder(self, encoder: str, model: str) -> None:
        """Raises `WbragError` where it was trained beside another encoder."""
        if self.encoder != encoder:
            raise WbragError(
                f"expected a retriever trained for the encoder {model!r} as it is set, found {self.name} of "
                f"{self.encoder_model!r}: train one, or publish with --retriever none"
            )


def save_adapter(root: Location, adapter: Adapter, made: Mapping[str, Any], held_out: Mapping[str, Any]) -> Part:
    """Write the adapter below `root`, in a folder named by its contents."""
    folder = f"adapter-{adapter.fingerprint}"
    with folder_in_one_step(root / folder) as scratch:
        adapter.save(scratch / ADAPTER_FILE)
        found = digests(scratch)
    return Part("adapter", folder, found, made, held_out)


def open_adapter(root: Location, retriever: TrainedRetriever) -> Adapter | None:
    """Its adapter, checksum first; None where it has none."""
    part = retriever.part("adapter")
    if part is None:
        return None
    file = root / part.folder / ADAPTER_FILE
    raw = file.read_bytes() if file.is_file() else b""
    found = hashlib.sha256(raw).hexdigest() if raw else "no file"
    if found != part.sha256.get(ADAPTER_FILE):
        raise WbragError(
            f"expected {file} with sha256 {part.sha256.get(ADAPTER_FILE, '')[:12]}, found {found[:12]}: it is damaged; "
            "delete its folder and train it again"
        )
    return Adapter.read(raw, str(file), retriever.dimension)


def save_model(root: Location, kind: Kind, model: Path, made: Mapping[str, Any], held_out: Mapping[str, Any]) -> Part:
    """Copy the model's folder below `root`, under a name of its contents; of a reranker `made` holds the `slope`."""
    found = digests(model)
    folder = f"{kind}-{fingerprint(found)}"
    with folder_in_one_step(root / folder) as place:
        shutil.copytree(model, place, dirs_exist_ok=True)
    return Part(kind, folder, found, made, held_out)


def reranker_of(root: Location, retriever: TrainedRetriever, settings: RerankConfig) -> RerankerModel | None:
    """Its reranker, to be opened where it reads; None where it has none."""
    part = retriever.part("reranker")
    if part is None:
        return None
    files = ShardFiles(part.folder, 0, dict(part.sha256))
    read = part.made.get("settings", {}).get("max_tokens", settings.max_tokens)  # as it was trained and measured
    return RerankerModel(settings.model_copy(update={"max_tokens": read}), str(root), files, float(part.made["slope"]))


def trained(root: Location, encoder: str) -> list[TrainedRetriever]:
    """Every retriever trained for this encoder, oldest first."""
    found = [TrainedRetriever.read(file) for file in listed(root, "*.json")]
    return sorted((one for one in found if one.encoder == encoder), key=lambda one: (one.created_at, one.name))


def named(root: Location, encoder: str, model: str, name: str) -> TrainedRetriever:
    """The one called `name`. Raises `WbragError` where none trained for this encoder has that name."""
    known = {one.name: one for one in trained(root, encoder)}
    if name not in known:
        there = ", ".join(known) or "none yet"
        raise WbragError(
            f"expected a retriever trained for the encoder {model!r} as it is set, found {name!r}: choose one of "
            f"{there}, latest or none"
        )
    if part := known[name].part("encoder"):
        raise WbragError(
            f"expected an adapter or a reranker, found {name!r}, an encoder, which needs an index of its own: run "
            f"`wbrag index --encoder.model {root / part.folder}`, then publish with that setting"
        )
    return known[name]

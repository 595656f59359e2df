"""An archive of which some passages are for certain groups: passages, units made of them, a release, its endpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.support.hostless import Life, open_life
from tests.support.releases import D, HashEncoder
from tests.support.serving import ScriptedStream, Settled
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Encoder, Vectors, encoder_fingerprint
from wbrag.serving.endpoint import endpoint
from wbrag.serving.keys import Keys
from wbrag.serving.release_cache import ReleaseCache
from wbrag.units.governance import Governance
from wbrag.units.releases import Release

# name -> groups, metadata
PASSAGES: dict[str, tuple[list[str] | None, dict[str, Any]]] = {
    "open": (None, {"lang": "en", "year": 2019}),
    "hr": (["hr"], {"lang": "en", "year": 2020}),
    "law": (["legal"], {"lang": "de", "year": 2020}),
    "either": (["hr", "legal"], {"lang": "de"}),
}
UNITS = {"of-open": ["open"], "of-hr": ["open", "hr"], "of-both": ["hr", "law"], "of-none": ["gone"]}
SETTINGS = {"max_top_k": 50, "releases": "any", "tasks": ("qa", "chat")}


class Embeds(HashEncoder):
    async def queries(self, texts: list[str]) -> Vectors:
        return self.encode_passages(texts)

    passages = queries


def may(groups: frozenset[str] | None, name: str) -> bool:
    """The rule, said once more: any group of a passage, every source of a unit."""
    if groups is None:
        return True
    if name in UNITS:
        return all(source in PASSAGES and may(groups, source) for source in UNITS[name])
    listed = PASSAGES[name][0]
    return listed is None or bool(groups & set(listed))


def visible(groups: frozenset[str] | None) -> set[str]:
    return {name for name in (*PASSAGES, *UNITS) if may(groups, name)}


@dataclass
class Archive:
    workspace: Life
    release: Release
    units: dict[str, str]  # name -> id

    def app(self) -> Any:
        layout = self.workspace.layout
        generator = ScriptedStream(lambda messages, sampling: " ".join(m.content for m in messages))  # tells all it got
        library = ReleaseCache(layout, cast(Encoder, HashEncoder()))
        return endpoint(layout, library, generator, cast(Any, Settled(self.release)))

    def key(self, name: str, role: str, groups: Any = ()) -> dict[str, str]:
        return {"authorization": f"Bearer {Keys(self.workspace.path).add(name, role, groups)}"}


def archive_of(folder: Path) -> Archive:
    rows = [
        {"id": name, "contents": f"Title {name}\nSECRET-{name} is here.", **({"groups": g} if g else {}), **m}
        for name, (g, m) in PASSAGES.items()
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    w = open_life(str(folder / "w"), words=cast(Any, Embeds()), serving=SETTINGS, checks={"policy": "manual"})
    w.session.dimension = D  # type: ignore[attr-defined]
    w.ingest_corpus(folder / "corpus.jsonl", metadata=["lang", "year"])
    w.index()
    hashes = w.layout.content_hashes(PASSAGES)
    units = {
        name: Unit(
            f"Unit {name}", f"SECRET-{name} is distilled.", ("q",), tuple((s, hashes.get(s, "h")) for s in of), ()
        )
        for name, of in UNITS.items()
    }
    vectors = HashEncoder().encode_passages([unit.contents for unit in units.values()])
    w.shelf.add(list(units.values()), vectors, encoder_fingerprint(w.config.encoder), 0.9999)
    Governance(w.layout).decide([unit.id for unit in units.values()], "approved", by="anna", why="")
    return Archive(w, w.releases.append(w.publisher.propose()), {name: unit.id for name, unit in units.items()})


def sees(text: str) -> set[str]:
    """What is named in a reply."""
    return {name for name in (*PASSAGES, *UNITS) if f"SECRET-{name} " in text or f'Title {name}"' in text}

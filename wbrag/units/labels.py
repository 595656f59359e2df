"""Unit labels: who may see a unit, and what searches can narrow to it, from its sources as they are now.

A unit inherits the strictest: whoever may see it may see every source. Of the metadata it has what all sources share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from wbrag.core.allowed import NOBODY, Allowed, access_of, shared, strictest
from wbrag.core.errors import WbragError
from wbrag.core.io.files import Location
from wbrag.core.io.parquet import corpus_files, has_columns, rows_with_ids
from wbrag.core.io.schemas import from_row
from wbrag.core.types import Passage, Unit
from wbrag.data.parts import LABELS
from wbrag.retrieval import external
from wbrag.retrieval.external import is_external
from wbrag.retrieval.index.labels import ACCESS, labels_of
from wbrag.retrieval.index.manifest import ShardFiles
from wbrag.units.layout import Layout
from wbrag.units.restrictions import is_restricted, was_restricted

LOOKED_UP = 20_000  # units whose sources are looked up together: each look reads the corpus once


class Label(NamedTuple):
    """An access list, and metadata as a JSON object, "" for none."""

    access: str = ""
    metadata: str = ""


def unit_labels(layout: Layout, ids: Sequence[str], version: int | None = None) -> dict[str, Label]:
    """The labels of those units of `ids` that have one; nobody may see a unit of a source that is gone."""
    found: dict[str, Label] = {}
    if not labelled(layout):
        return found
    for start in range(0, len(ids), LOOKED_UP):
        rows = layout.shelf.table(["id", "sources"], ids[start : start + LOOKED_UP], version)
        sources = [[one["id"] for one in listed or ()] for listed in rows["sources"].to_pylist()]
        known = passage_labels(layout, {id for mine in sources for id in mine})
        for id, mine in zip(rows["id"].to_pylist(), sources, strict=True):
            if (label := _of(mine, known)) != Label():
                found[id] = label
    return found


def access_of_unit(layout: Layout, unit: Unit) -> str:
    """Who may see one unit."""
    sources = [id for id, _ in unit.sources]
    return _of(sources, passage_labels(layout, set(sources))).access if labelled(layout) else ""


def visible(layout: Layout, ids: Sequence[str], allowed: Allowed) -> list[str]:
    """Those units of `ids` that may be shown, as their sources are now."""
    labels = unit_labels(layout, ids)
    return [id for id in ids if id not in labels or allowed.may(labels[id].access)]


def labelled(layout: Layout) -> bool:
    """Whether some passage has an access list or metadata."""
    if is_external(layout.config):
        return external.narrows(layout.config)
    if was_restricted(layout.path):  # of a unit whose source is gone nobody knows for whom that was
        return True
    return any(has_columns(file, *LABELS) for file in corpus_files(layout.path / "corpus"))


def restricted(layout: Layout) -> bool:
    """Whether some passage is not for everybody, or was not: in the corpus, or in what answers now."""
    if is_external(layout.config):
        return external.narrows(layout.config)
    if was_restricted(layout.path) or is_restricted(layout.path):
        return True
    name = layout.default_release(None)
    try:
        return any(ACCESS in shard.sha256 for index, _ in layout.indexes(name) for shard in index.shards)
    except WbragError:  # nothing answers yet
        return False


def labels_version(layout: Layout) -> tuple[tuple[str, int, int], ...]:
    """Changes with the corpus that the labels are of; of an outside store, which does not say, every minute."""
    if is_external(layout.config):
        return (("", 0, int(time.time() // 60)),)
    stats = [(file.name, file.stat()) for file in corpus_files(layout.path / "corpus")]
    return tuple((name, stat.st_size, getattr(stat, "st_mtime_ns", 0)) for name, stat in stats)


def passage_labels(layout: Layout, ids: Collection[str]) -> dict[str, tuple[str, dict[str, str]]]:
    """The access list of each of the passages that `ids` name, as they are now, and its metadata, by field as JSON.

    None of an outside store that cannot be asked by id: what was kept of it is not what it says now.
    """
    if is_external(layout.config):
        found = list(external.passages(layout.config, ids, None).values())
    else:
        files = corpus_files(layout.path / "corpus") if ids else []
        rows = rows_with_ids(files, ids, ["id", *LABELS]).to_pylist() if files else []
        found = [from_row(Passage, {"title": "", "text": "", **row}) for row in rows]
    return {p.id: (access_of(p.groups), {k: json.dumps(v) for k, v in p.metadata.items()}) for p in found}


def shard_labels(root: Location, files: ShardFiles, ids: Sequence[str]) -> dict[str, Label]:
    """The labels that a shard was made with, by the ids of its units, in the order of its rows."""
    labels = labels_of(root / files.folder, len(ids))
    if labels is None:
        return {}
    told = (labels.of(row) for row in range(len(ids)))
    made = (Label(access, _text(metadata)) for access, metadata in told)
    return {id: label for id, label in zip(ids, made, strict=True) if label != Label()}


def _of(sources: Sequence[str], known: Mapping[str, tuple[str, Mapping[str, str]]]) -> Label:
    gone: tuple[str, Mapping[str, str]] = (NOBODY, {})
    mine = [known.get(id, gone) for id in sources]
    return Label(strictest(access for access, _ in mine), _text(shared(metadata for _, metadata in mine)))


def _text(metadata: Mapping[str, str]) -> str:
    return json.dumps({k: json.loads(v) for k, v in sorted(metadata.items())}) if metadata else ""

"""Workspace layout: where everything lies in a workspace's folder, and how it is found again.

It starts no model. Corpus and examples come in through it; it opens the tables that enrichment and people write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Unpack

from wbrag.core import prompts
from wbrag.core.config import Config, load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, inside, listed, location, sha256_of
from wbrag.core.io.parquet import corpus_files, counts, read_file, rows_with_ids
from wbrag.core.io.schemas import from_row
from wbrag.core.progress import bar
from wbrag.core.tasks import task as known_task
from wbrag.core.types import Example, Origin, Passage, content_hash
from wbrag.data.ingest import IngestResult, ingest_corpus, ingest_examples
from wbrag.data.reading import ReadOptions
from wbrag.data.update import UpdateResult, update_corpus
from wbrag.retrieval import external
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.external import is_external
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.shard import PASSAGES
from wbrag.retrieval.reranker import RerankerModel, named
from wbrag.retrieval.trained import TrainedRetriever, open_adapter, reranker_of
from wbrag.units import restrictions
from wbrag.units.decisions import Decisions
from wbrag.units.examinations import Examinations
from wbrag.units.releases import Release, Releases
from wbrag.units.table import UnitTable
from wbrag.units.usage import Usage

Index = tuple[Manifest, Origin]


class Layout:
    """One folder: corpus/ examples/ embeddings/ index/ verdicts/ answers/ shelf/ reports/."""

    def __init__(self, folder: str | Location | None = None, config: Config | None = None) -> None:
        self.config = config or load()
        self.path = location(folder if folder is not None else self.config.workspace).resolve()

    def varied(self, **sections: Mapping[str, Any]) -> Layout:
        """The same workspace under other settings of these sections."""
        changed = {name: getattr(self.config, name).model_copy(update=values) for name, values in sections.items()}
        return Layout(self.path, self.config.model_copy(update=changed))

    @cached_property
    def shelf(self) -> UnitTable:
        return UnitTable(self.path / "shelf" / "units")

    @property
    def releases(self) -> Releases:
        return Releases(self.path / "shelf" / "releases")

    @property
    def decisions(self) -> Decisions:
        return Decisions(self.path / "shelf" / "decisions")

    @property
    def results(self) -> Examinations:
        return Examinations(self.path / "shelf" / "checks")

    @property
    def usage(self) -> Usage:
        return Usage(self.path / "shelf")

    # -- what comes in, and what is read -------------------------------------------------------------------------

    def ingest_corpus(
        self,
        path: str | Location,
        format: str = "flashrag",
        *,
        chunk_words: int = 100,
        source: str | None = None,
        progress: bool = False,
        **how: Unpack[ReadOptions],
    ) -> IngestResult:
        """Read a published corpus into `corpus/`; documents longer than 1.5 x `chunk_words` words are cut.

        What is left out lies in `quarantine/corpus.jsonl`.
        """
        restrictions.remember(self.path)
        how.setdefault("kept_in", self.path / "quarantine" / "corpus.jsonl")
        with bar("reading the corpus", shown=progress) as update:
            return ingest_corpus(
                path,
                self.path / "corpus",
                format=format,
                chunk_words=chunk_words,
                source=source,
                progress=lambda rows, done, total: update(done, total),
                **how,
            )

    def update_corpus(
        self,
        path: str | Location | None = None,
        format: str = "flashrag",
        *,
        delete: Collection[str] = (),
        chunk_words: int = 100,
        source: str | None = None,
        progress: bool = False,
        **how: Unpack[ReadOptions],
    ) -> UpdateResult:
        """Add and change the documents at `path` in `corpus/`, and take out those that `delete` names.

        What is left out lies in `quarantine/corpus-update.jsonl`.
        """
        restrictions.remember(self.path)
        how.setdefault("kept_in", self.path / "quarantine" / "corpus-update.jsonl")
        with bar("reading the documents", shown=progress) as update:
            return update_corpus(
                path,
                self.path / "corpus",
                format=format,
                delete=delete,
                chunk_words=chunk_words,
                source=source,
                progress=lambda rows, done, total: update(done, total),
                **how,
            )

    def ingest_examples(
        self,
        path: str | Location,
        name: str,
        split: str,
        format: str = "flashrag",
        task: str = "qa",
        *,
        unlabelled: bool = False,
        keep: Callable[[Example], bool] = lambda example: True,
        **how: Unpack[ReadOptions],
    ) -> IngestResult:
        """Read questions into `examples/NAME/SPLIT.parquet`; `unlabelled` ones are for the judge.

        What is left out lies in `quarantine/NAME/SPLIT.jsonl`.
        """
        known_task(task)
        for part in (name, split):
            if not part or "/" in part or part.startswith("."):
                raise UsageError(
                    f"expected a plain name for the examples, found {part!r}: use letters, digits and dashes"
                )
        out = self.examples_file(f"{name}/{split}")
        how.setdefault("kept_in", self.path / "quarantine" / name / f"{split}.jsonl")
        return ingest_examples(path, out, format=format, task=task, unlabelled=unlabelled, keep=keep, **how)

    def examples(self, name: str, limit: int | None = None) -> list[Example]:
        """NAME/SPLIT, or `limit` of its examples: always the same ones, and among those of any larger limit.

        They are drawn, since published files are often sorted by subject.
        """
        file = self.examples_file(name)
        if not file.is_file():
            known = sorted(f"{f.parent.name}/{f.stem}" for f in (self.path / "examples").glob("*/*.parquet"))
            raise WbragError(
                f"expected examples {name!r}, found {', '.join(known) or 'none'}: run `wbrag ingest examples PATH`"
            )
        if limit is not None and limit < 1:
            raise UsageError(f"expected a limit of at least 1, found {limit}")
        rows = read_file(file).to_pylist()
        if limit is not None and limit < len(rows):
            drawn = {row["id"] for row in sorted(rows, key=lambda row: content_hash(row["id"]))[:limit]}
            rows = [row for row in rows if row["id"] in drawn]
        return [from_row(Example, row) for row in rows]

    def every_example(self) -> dict[str, Example]:
        """The examples of every set, by id; of two with one id the first in the order of the files."""
        files = listed(self.path / "examples", "*/*.parquet")
        found = [e for file in files for e in self.examples(f"{file.parent.name}/{file.stem}")]
        return {e.id: e for e in reversed(found)}

    def splits(self, name: str) -> list[str]:
        """The splits of the examples called `name`."""
        return sorted(file.stem for file in listed(self.path / "examples" / name, "*.parquet"))

    def passages(self, ids: Collection[str]) -> dict[str, Passage]:
        """Those of the corpus's passages that `ids` name, as they are now.

        Of an outside store that cannot be asked by id, as they were last retrieved.
        """
        if is_external(self.config):
            return external.passages(self.config, ids, self.path / "sources")
        files = corpus_files(self.path / "corpus") if ids else []
        rows = rows_with_ids(files, ids).to_pylist() if files else []
        return {row["id"]: from_row(Passage, row) for row in rows}

    def content_hashes(self, ids: Collection[str]) -> dict[str, str]:
        """The hash of the contents of each of the passages that `ids` name, as they are now."""
        if is_external(self.config):
            return {id: passage.content_hash for id, passage in self.passages(ids).items()}
        files = corpus_files(self.path / "corpus") if ids else []
        found = rows_with_ids(files, ids, ["id", "title", "text"]) if files else PASSAGES.empty_table()
        columns = (found[name].to_pylist() for name in PASSAGES.names)
        return {id: content_hash(f"{title}\n{text}") for id, title, text in zip(*columns, strict=True)}

    def sources_of(self, ids: Collection[str]) -> dict[str, str]:
        """The name of each passage's source, of those of the corpus that `ids` name."""
        files = corpus_files(self.path / "corpus") if ids else []
        found = rows_with_ids(files, ids, ["id", "source"]).to_pylist() if files else []
        return {row["id"]: row["source"] or "" for row in found}

    def source_sizes(self) -> dict[str, int] | None:
        """How many passages of the corpus each source has; None of an outside store, which is not counted."""
        if is_external(self.config):
            return None
        return counts(corpus_files(self.path / "corpus"), "source")

    def base(self) -> tuple[Manifest, Location, str]:
        """The base index in use: its manifest, the manifest's path, and its sha256."""
        if is_external(self.config):
            raise WbragError(
                f"expected wbrag's own index for this, found retriever.kind {self.config.retriever.kind!r}: "
                "ingest the corpus and set retriever.kind faiss"
            )
        pointer = self.path / "index" / "base.json"
        if not pointer.is_file():
            raise WbragError(f"expected an index in {self.path}, found none: run `wbrag index` first")
        found = json.loads(pointer.read_text(encoding="utf-8"))
        path = self.path / str(found["manifest"])
        manifest = Manifest.read(path, found["sha256"])
        if manifest.encoder != encoder_fingerprint(self.config.encoder):
            raise WbragError(
                f"expected an index of the encoder {self.config.encoder.model!r} with these settings, found one of "
                f"{manifest.encoder_model!r} in {self.path}: use that encoder, or run `wbrag index` again"
            )
        return manifest, path, str(found["sha256"])

    def base_row(self) -> tuple[str, str]:
        """What a release's row says of the base in use: manifest and sha256, or "" and the name of an outside store."""
        if is_external(self.config):
            return "", external.identity(self.config)
        _, path, digest = self.base()
        return inside(path, self.path), digest

    def indexed(self, corpus: str | None = None) -> bool:
        """Whether the base index in use is one of the present corpus and encoder, with its words where they count."""
        pointer = self.path / "index" / "base.json"
        if not pointer.is_file() or (self.config.retrieval.hybrid and not self.base()[0].keywords):
            return False
        self.base()
        return bool(json.loads(pointer.read_text(encoding="utf-8"))["corpus"] == (corpus or self.corpus_fingerprint()))

    def release(self, name: str = "latest") -> Release:
        """The row of a release; `none` is the base index in use, alone."""
        if name == "none":
            return Release.of_base(*self.base_row(), encoder_fingerprint(self.config.encoder))
        row = self.releases.get(name)
        if row.encoder != encoder_fingerprint(self.config.encoder):
            raise WbragError(
                f"expected a release made with the encoder {self.config.encoder.model!r}, "
                f"found {row.id} made with another: publish again"
            )
        return row

    def indexes(self, release: str | Release = "latest") -> list[Index]:
        """The indexes that `release` answers from, by name or by row; an outside store is none of them."""
        row = self.release(release) if isinstance(release, str) else release
        external.check_words(self.config)
        if bool(row.base_manifest) == is_external(self.config):
            made = "wbrag's own index" if row.base_manifest else "an outside store"
            raise WbragError(
                f"expected a release made beside retriever.kind {self.config.retriever.kind!r}, "
                f"found {row.id} made beside {made}: publish again"
            )
        found: list[Index] = []
        if row.base_manifest:
            found.append((self._searched(row, row.base_manifest, row.base_sha256), "base"))
        if row.writeback_manifest:
            found.append((self._searched(row, row.writeback_manifest, row.writeback_sha256), "writeback"))
        return found

    def _searched(self, row: Release, path: str, sha256: str) -> Manifest:
        """The index at `path`, with its words only where these settings search them."""
        manifest = Manifest.read(self.path / path, sha256)
        if not self.config.retrieval.hybrid:
            return replace(manifest, keywords=None)
        if manifest.keywords is None:
            verbs = "`wbrag index` and `wbrag publish`" if row.number else "`wbrag index`"
            raise WbragError(
                f"expected an index of words beside {path} for retrieval.hybrid, found none: run {verbs} with it"
            )
        return manifest

    @property
    def retrievers(self) -> Location:
        """Where trained retrievers are kept."""
        return self.path / "retrievers"

    def retriever(self, release: str | Release) -> TrainedRetriever | None:
        """What `release`, by name or by row, searches with beside the encoder; None for the encoder alone."""
        if release == "none":
            return None
        row = self.release(release) if isinstance(release, str) else release
        if not row.retriever:
            return None
        found = TrainedRetriever.read(self.path / row.retriever, row.retriever_sha256)
        found.check_encoder(encoder_fingerprint(self.config.encoder), self.config.encoder.model)
        return found

    def adapter(self, release: str | Release) -> Adapter | None:
        """The adapter of `release`, None where it has none."""
        found = self.retriever(release)
        return open_adapter(self.retrievers, found) if found else None

    def reranker(self, release: str | Release) -> RerankerModel | None:
        """What reads the best hits of `release` again: the model that the settings name, else its own, else none."""
        settings = self.config.rerank
        found = None if settings.model else self.retriever(release)
        return reranker_of(self.retrievers, found, settings) if found else named(settings)

    def unit_sources(self) -> dict[str, frozenset[str]] | None:
        """The passages that each unit was distilled from, where units displace them (`retrieval.displace_sources`)."""
        if not self.config.retrieval.displace_sources:
            return None
        found: dict[str, frozenset[str]] = {}
        for rows in self.shelf.scanned(["id", "sources"]):
            named = (frozenset(source["id"] for source in listed or ()) for listed in rows["sources"].to_pylist())
            found.update(zip(rows["id"].to_pylist(), named, strict=True))
        return found

    def default_release(self, release: str | None) -> str:
        """`release`, or the latest where there is one, or `none`."""
        return release if release is not None else ("latest" if self.releases.all() else "none")

    def examples_file(self, name: str) -> Location:
        """Where NAME/SPLIT is kept."""
        return self.path / "examples" / f"{name}.parquet"

    def corpus_parts(self) -> dict[str, str]:
        """The sha256 of each file of the corpus, by its name, in order."""
        return {file.name: sha256_of(file) for file in corpus_files(self.path / "corpus")}

    def corpus_fingerprint(self) -> str:
        """Equal for equal corpora."""
        return fingerprint(list(self.corpus_parts().values()))

    def prompt_version(self, used: Iterable[str] = ()) -> str:
        """A hash over the prompts; of those that came after version 0.1 only over the `used`."""
        return prompts.version(used, self.config.prompts_dir)

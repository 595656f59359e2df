"""Rows worked out over the workspace's examples (verdicts, answers, units), in folders named by what decides them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from wbrag.core.config import Config, fingerprint
from wbrag.core.errors import UsageError
from wbrag.core.io.files import Location, sha256_of, write_atomically
from wbrag.core.progress import bar
from wbrag.core.types import Example
from wbrag.retrieval.external import open_base, outside, state
from wbrag.retrieval.external.source_cache import remember
from wbrag.retrieval.retriever import Base, IndexRetriever
from wbrag.units.layout import Index, Layout

if TYPE_CHECKING:
    from wbrag.enrich.row_jobs import Handles, RowJob
    from wbrag.executor.ray.session import Session

Rows = list[dict[str, Any]]
MAKER = 2  # raised whenever the code would make other rows from the same settings


class Run(NamedTuple):
    """A record per example, in their order, how many were already there, and the folder they are in."""

    rows: Rows
    resumed: int
    folder: Location


class Runner(Layout):
    """A workspace's models, which start once and only if there is work, and what they worked out.

    A `session` that is handed in is used in place of one of its own, and left running by `close()`.
    """

    def __init__(
        self,
        folder: str | Location | None = None,
        config: Config | None = None,
        *,
        progress: bool = False,
        session: Session | None = None,
    ) -> None:
        super().__init__(folder, config)
        self.progress = progress
        self._session, self._lent = session, session is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._session is not None and not self._lent:
            self._session.close()
            self._session = None

    @property
    def session(self) -> Session:
        if self._session is None:
            from wbrag.executor.ray.session import Session

            self._session = Session(self.config)
        return self._session

    def varied(self, **sections: Mapping[str, Any]) -> Self:
        """This workspace with other `enrich` or `retrieval` settings, over the same running models."""
        other = copy(self)
        other._session = self.session
        changed = {name: getattr(self.config, name).model_copy(update=values) for name, values in sections.items()}
        other.config = self.config.model_copy(update=changed)
        return other

    def verdicts(self, examples: str, *, method: str = "naive", limit: int | None = None) -> Run:
        """Algorithm 1 on every example of NAME/SPLIT, kept in `verdicts/<fingerprint>/`; the shelf is not touched."""
        from wbrag.enrich.row_jobs import EnrichJob

        asked = self.examples(examples, limit)
        if self.config.enrich.gate_metric != "judge":
            _need_labels(examples, asked)
        label = f"finding and distilling what helped ({method})"
        run = self._run(EnrichJob(self.config, method), examples, asked, self.indexes("none"), label)
        if outside(self.config):
            remember(self.path / "sources", run.folder.name, run.rows)
        return run

    def answers(
        self,
        examples: str,
        *,
        release: str = "latest",
        method: str = "naive",
        limit: int | None = None,
        indexes: list[Index] | None = None,
    ) -> Rows:
        """One record per question, kept in `answers/<fingerprint>/`; `release` is only a label beside `indexes`."""
        from wbrag.enrich.row_jobs import EvaluateJob

        asked = self.examples(examples, limit)
        _need_labels(examples, asked)
        retrieve = indexes is not None or release != "closed-book"
        if indexes is None:
            indexes = self.indexes(release) if retrieve else []
        job = EvaluateJob(self.config, retrieve, method)
        how = "" if method == "naive" else f", {method}"
        label = f"answering {examples} ({release if retrieve else 'closed book'}{how})"
        return self._run(job, examples, asked, indexes, label).rows

    def units(self, examples: Sequence[Example], *, round_trip: bool = False) -> Run:
        """A unit for each example from `metadata["documents"]`, kept in `distilled/<fingerprint>/`."""
        from wbrag.enrich.row_jobs import DistilJob
        from wbrag.generators import generator_fingerprint
        from wbrag.retrieval.encoder import encoder_fingerprint

        c, e = self.config, self.config.enrich
        distiller = (e.distiller, e.max_sentences, e.fallback_sentences, e.max_unit_tokens)
        made_with = (generator_fingerprint(c), encoder_fingerprint(c.encoder), self.prompt_version())
        tag = fingerprint(MAKER, *made_with, distiller, round_trip)
        return self._rows(DistilJob(c, round_trip), examples, self.path / "distilled" / tag, [], "distilling evidence")

    def _run(self, job: Any, name: str, examples: list[Example], indexes: list[Index], label: str) -> Run:
        from wbrag.generators import generator_fingerprint
        from wbrag.retrieval.encoder import encoder_fingerprint

        c = job.config
        made_with = {
            "examples": name,
            "method": job.method,
            "prompt_version": self.prompt_version(),
            "generator": generator_fingerprint(c),
            "encoder": encoder_fingerprint(c.encoder),
        }
        tag = fingerprint(
            MAKER,
            job.kind,
            made_with,
            sha256_of(self.examples_file(name)),
            c.enrich if job.kind == "enrich" else c.retrieval,
            getattr(c.methods, job.method, None),
            [[s.sha256 for s in manifest.shards] for manifest, _ in indexes],
            {unit: sorted(sources) for unit, sources in (self.unit_sources() or {}).items()},
            *(state(c) if job.retrieve else ()),
        )
        folder = self.path / ("verdicts" if job.kind == "enrich" else "answers") / tag
        described = {**made_with, "config": c.model_dump(mode="json")}
        write_atomically(folder / "run.json", json.dumps(described, indent=1) + "\n")
        return self._rows(job, examples, folder, indexes, label)

    def base_search(self) -> tuple[list[Any], Base | None]:
        """What the base passages are searched with by vectors: the shards of wbrag's own index, or an outside store."""
        if outside(self.config):
            return [], open_base(self.config, self.session.encoder())
        return list(self.session.shards(self.path / "index", self.base()[0], "base")), None

    def _rows(
        self, job: RowJob, examples: Sequence[Example], folder: Location, indexes: list[Index], label: str
    ) -> Run:
        from wbrag.executor.ray.row_pass import run_rows
        from wbrag.generators import check

        def handles() -> Handles:  # called only if there is a row to work on
            asyncio.run(check(job.config, job.needs))
            opened = self.session.handles(self.path / "index", indexes)
            if base := open_base(job.config, opened.encoder) if job.retrieve else None:  # refused here, not row by row
                asyncio.run(IndexRetriever(opened.encoder, [], base=base).search(["wbrag"], 1))
            return replace(opened, sources=self.unit_sources())

        with bar(label, shown=self.progress) as update:
            records, resumed = run_rows(self.config, job, handles, examples, folder, update)
        return Run([records[e.id] for e in examples], resumed, folder)


def _need_labels(name: str, examples: Sequence[Example]) -> None:
    if bare := sum(not example.golden_answers for example in examples):
        raise UsageError(
            f"expected an answer to every question of {name}, found {bare} without: ingest labelled ones, "
            "or enrich with --enrich.gate_metric judge"
        )

"""Job runner: a workspace's jobs over models that start once, and only if there is work.

Rows are worked out once, in folders named by everything that decides them; what is there is never worked out again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from wbrag.core import prompts
from wbrag.core.config import Config
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, inside, sha256_of, write_atomically
from wbrag.core.io.parquet import corpus_files
from wbrag.core.progress import bar
from wbrag.core.types import Example
from wbrag.enrich.enrich import Worth, nobody
from wbrag.enrich.row_jobs import DistilJob, EnrichJob, EvaluateJob, Handles, RowJob, documents_of
from wbrag.enrich.rows import Row, Run
from wbrag.enrich.start_check import start_check
from wbrag.executor.models import Models
from wbrag.executor.reuse import ROWS_VERSION, Reuse, ranking, stages
from wbrag.generators import check, generator_fingerprint
from wbrag.generators.hub import commit_of
from wbrag.retrieval.adapter import Adapter
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.external import is_external, open_base, state
from wbrag.retrieval.external.source_cache import save_passages
from wbrag.retrieval.index.manifest import Manifest
from wbrag.retrieval.index.under_way import under_way
from wbrag.retrieval.index.vector_store import VectorStore
from wbrag.retrieval.index.words import index_words
from wbrag.retrieval.reading_length import reading_length
from wbrag.retrieval.reranker import RerankerModel, named
from wbrag.retrieval.retriever import IndexRetriever
from wbrag.units.checks import worth_witnesses
from wbrag.units.layout import Index
from wbrag.units.releases import Release

if TYPE_CHECKING:
    from wbrag.executor.ray.index_build import BuiltIndex
    from wbrag.executor.ray.index_plan import IndexPlan

log = logging.getLogger(__name__)


class Runner(Models):
    """Runs jobs over the workspace of `layout`, with its models."""

    def varied(self, **sections: Mapping[str, Any]) -> Runner:
        """A runner with other `enrich` or `retrieval` settings, over the same running models."""
        return Runner(self.layout.varied(**sections), progress=self.progress, session=self.session)

    # -- rows ---------------------------------------------------------------------------------------------------

    def verdicts(
        self,
        examples: str,
        *,
        method: str = "naive",
        limit: int | None = None,
        distils: bool = True,
        witnessed: bool = True,
    ) -> Run:
        """Algorithm 1 on every example of NAME/SPLIT, kept in `verdicts/<fingerprint>/`; no unit is stored.

        Without `distils` none is written either. Without `witnessed` no witness is asked, for the check `dissent`.
        """
        asked = self.layout.examples(examples, limit)
        if self.config.enrich.gate_metric != "judge":
            _need_labels(examples, asked)
        label = f"finding and distilling what helped ({method})"
        worth = self._worth() if witnessed and distils else nobody
        job = EnrichJob(self.config, method, distils, worth)
        run = self._run(job, examples, asked, self.layout.indexes("none"), label)
        if is_external(self.config):
            save_passages(self.layout.path / "sources", run.folder.name, run.rows)
        return run

    def answers(
        self,
        examples: str,
        *,
        release: str = "latest",
        method: str = "naive",
        limit: int | None = None,
        indexes: list[Index] | None = None,
        adapter: Adapter | None = None,
        reranker: RerankerModel | None = None,
        sources: Mapping[str, frozenset[str]] | None = None,
    ) -> list[Row]:
        """A row per question, kept in `answers/<fingerprint>/`.

        Beside `indexes`, which are searched with `adapter` and `reranker`, `release` is only a label; `sources` are the
        passages that each document of theirs displaces, where `retrieval.displace_sources` is set.
        """
        asked = self.layout.examples(examples, limit)
        _need_labels(examples, asked)
        retrieve = indexes is not None or release != "closed-book"
        if indexes is not None:
            reranker = reranker or named(self.config.rerank)
            sources = sources if self.config.retrieval.displace_sources else None
        else:
            indexes = self.layout.indexes(release) if retrieve else []
            adapter = self.layout.adapter(release) if retrieve else None
            reranker = self.layout.reranker(release) if retrieve else None
            sources = self.layout.unit_sources() if retrieve else None
        job = EvaluateJob(self.config, retrieve, method, adapter, reranker, sources)
        how = "" if method == "naive" else f", {method}"
        label = f"answering {examples} ({release if retrieve else 'closed book'}{how})"
        return list(self._run(job, examples, asked, indexes, label).rows)

    def distil(self, examples: Sequence[Example], *, round_trip: bool = False, witnessed: bool = False) -> Run:
        """A unit for each example from `metadata["documents"]`, kept in `distilled/<fingerprint>/`.

        `witnessed`: witnesses are asked about the units too, where the settings have it so.
        """
        c, e = self.config, self.config.enrich
        distiller = (e.distiller, e.max_sentences, e.fallback_sentences, e.max_unit_tokens)
        made_with = (*_models(c), encoder_fingerprint(c.encoder), self.layout.prompt_version())
        worth = self._worth() if witnessed else nobody
        witnessed = worth is not nobody
        indexes = self.layout.indexes("none") if witnessed else []
        shards = [[s.sha256 for s in manifest.shards] for manifest, _ in indexes]
        asked = (e.witnesses, shards, *state(c)) if witnessed else ()
        tag = fingerprint(ROWS_VERSION, *made_with, distiller, round_trip, *asked)
        folder = self.layout.path / "distilled" / tag
        job = DistilJob(c, round_trip, worth)
        return self._rows(job, examples, folder, indexes, {}, "distilling evidence")

    def _worth(self) -> Worth:
        """Which units witnesses are asked about, for the check `dissent`."""
        asks = self.config.enrich.witnesses and "dissent" in self.config.checks.enabled
        return partial(worth_witnesses, self.config.checks) if asks else nobody

    def _run(self, job: Any, name: str, examples: list[Example], indexes: list[Index], label: str) -> Run:
        c, layout = job.config, self.layout
        sources = (job.sources if job.kind == "evaluate" and job.retrieve else layout.unit_sources()) or {}
        made_with = {
            "examples": name,
            "method": job.method,
            "prompt_version": layout.prompt_version(_prompts(job.method, examples)),
            "generator": generator_fingerprint(c),
            "encoder": encoder_fingerprint(c.encoder),
        }
        tag = fingerprint(
            ROWS_VERSION,
            job.kind,
            made_with,
            sha256_of(layout.examples_file(name)),
            c.enrich if job.kind == "enrich" else c.retrieval,
            getattr(c.methods, job.method, None),
            [[s.sha256 for s in manifest.shards] for manifest, _ in indexes],
            {unit: sorted(found) for unit, found in sources.items()},
            *(state(c) if job.retrieve else ()),
            *((*_models(c)[1:], *ranking(c)) if job.kind == "enrich" else ()),
            *(() if job.distils or job.kind != "enrich" else ("no units",)),
            *(("no witnesses",) if job.kind == "enrich" and job.distils and _unasked(job) else ()),
            *(part.fingerprint for part in (job.adapter, job.reranker) if part) if job.kind == "evaluate" else (),
        )
        folder = layout.path / ("verdicts" if job.kind == "enrich" else "answers") / tag
        return self._rows(job, examples, folder, indexes, made_with, label)

    def _rows(
        self,
        job: RowJob,
        examples: Sequence[Example],
        folder: Location,
        indexes: list[Index],
        made_with: Mapping[str, str],
        label: str,
    ) -> Run:
        from wbrag.executor.ray.row_pass import run_rows

        found = stages(job, indexes)
        self._describe(job.config, folder, made_with, found)

        def handles() -> Handles:  # called only if there is a row to work on
            asyncio.run(check(job.config, job.needs))
            opened = self.session.handles(self.layout.path / "index", indexes, distils=job.distils)
            self._check_model(job, opened, examples[0])
            if base := open_base(job.config, opened.encoder) if job.retrieve else None:  # refused here, not row by row
                asyncio.run(IndexRetriever(opened.encoder, [], base=base).search(["wbrag"], 1))
            return opened

        with bar(label, shown=self.progress) as update:
            reuse = Reuse(job, self.layout, folder, found)
            rows, resumed = run_rows(self.config, job, handles, examples, folder, update, reuse)
        return Run(rows.in_order([example.id for example in examples]), resumed, folder)

    def _describe(self, config: Config, folder: Location, made_with: Mapping[str, str], found: dict[str, str]) -> None:
        """Write `run.json`; nothing is taken over from a folder that holds rows of two commits of a hub model."""
        file, commit = folder / "run.json", commit_of(config.generator)
        before = json.loads(file.read_text(encoding="utf-8")).get("commit", commit) if file.is_file() else commit
        if before != commit:
            log.warning("%s holds rows of another commit of the model (%s, now %s)", folder, before, commit)
        described = {**made_with, "commit": before, "stages": found if before == commit else {}}
        described |= {"config": config.model_dump(mode="json")}
        write_atomically(file, json.dumps({k: v for k, v in described.items() if v != ""}, indent=1) + "\n")

    def _check_model(self, job: RowJob, models: Handles, first: Example) -> None:
        """Once for models that run: whether they can do what this job asks of them, on its `first` example."""
        asked = (*_models(job.config), first.task, job.distils)
        if asked in self.session.checked:
            return

        async def check_first() -> str:
            if not job.distils:
                return await start_check(models.generator, job.config, task_name=first.task)
            documents = await documents_of(job, models, first)
            own = {"question": first.question, "documents": documents} if documents else {}
            writer = models.distiller or models.generator
            return await start_check(models.generator, job.config, writer, task_name=first.task, **own)  # type: ignore[arg-type]

        if said := asyncio.run(check_first()):
            log.warning(said)
        self.session.checked.add(asked)

    # -- the base index -----------------------------------------------------------------------------------------

    def index(self) -> tuple[BuiltIndex, str]:
        """Embed and index what of the corpus is new, resuming what a killed run left; the manifest's path beside it."""
        from wbrag.executor.ray.index_build import BuiltIndex, build_index, spread

        path, parts = self.layout.path, self.layout.corpus_parts()
        digest = fingerprint(list(parts.values()))
        if present := self._present(digest):
            return BuiltIndex(present[0], 0, 0), inside(present[1], path)
        with under_way(path / "index"), bar("embedding the corpus", shown=self.progress) as update:
            found = build_index(
                self.session, path / "corpus", parts, path / "embeddings", path / "index", update, self._tell
            )
        manifest = found.manifest
        if self.config.retrieval.hybrid:
            with bar("indexing words", shown=self.progress) as update:
                limit_s = self.config.ray.start_timeout_s
                words = index_words(path / "index", manifest.shards, spread(limit_s), update)
            manifest = replace(manifest, keywords=words)
        file = path / "index" / f"base-{manifest.name}.json"
        pointer = {"manifest": inside(file, path), "sha256": manifest.write(file), "corpus": digest}
        write_atomically(path / "index" / "base.json", json.dumps(pointer, indent=1) + "\n")
        return found._replace(manifest=manifest), pointer["manifest"]

    def plan_index(self) -> IndexPlan:
        """What `index` would do, worked out in this process; no model starts."""
        from wbrag.executor.ray.index_plan import keep_keys, kept_keys, missing_keys, plan_index

        path, parts = self.layout.path, self.layout.corpus_parts()
        kept = path / "embeddings" / "keys"
        with bar("looking at the corpus", shown=self.progress) as update:
            missing = missing_keys(parts, kept)
            for done, (name, file) in enumerate(missing.items()):
                update(done, len(missing))
                keep_keys(path / "corpus" / name, file)
        store = VectorStore(path / "embeddings" / encoder_fingerprint(self.config.encoder))
        return plan_index(self.config, path / "corpus", kept_keys(parts, kept), store, path / "index")

    def _tell(self, said: str) -> None:
        if self.progress:
            print(f"index: {said}", file=sys.stderr, flush=True)

    def _present(self, corpus: str) -> tuple[Manifest, Location] | None:
        """The base index in use, where it is what would be built of the `corpus`, and all of it is there."""
        try:
            current = self.layout.indexed(corpus)
        except WbragError:  # of another encoder, or damaged
            return None
        if not current:
            return None
        manifest, path, _ = self.layout.base()
        c, root = self.config.index, self.layout.path / "index"
        words = (manifest.keywords.statistics, *manifest.keywords.shards) if manifest.keywords else ()
        files = [root / one.folder / name for one in (*manifest.shards, *words) for name in one.sha256]
        alike = manifest.factory == c.factory and len(manifest.shards) == min(c.shards, manifest.count)
        return (manifest, path) if alike and all(file.is_file() for file in files) else None

    def unread(self, passages: int) -> list[str]:
        """What the encoder does not read of the corpus's `passages`, in sentences."""
        encoder = self.config.encoder
        found = reading_length(encoder, corpus_files(self.layout.path / "corpus"), encoder.passage_prefix or "")
        return found.said(encoder, passages) if found else []

    def canary_rows(self, release: Release) -> list[Row]:
        """Answers over the questions of `canary.examples`."""
        c = self.config.canary
        assert c.examples is not None
        return self.answers(
            c.examples,
            release=release.id,
            method=c.method,
            limit=c.limit,
            indexes=self.layout.indexes(release),
            adapter=self.layout.adapter(release),
            reranker=self.layout.reranker(release),
            sources=self.layout.unit_sources(),
        )


def _unasked(job: EnrichJob) -> bool:
    """Whether no witness is asked although the settings of enrichment alone would have it."""
    return job.worth is nobody and bool(job.config.enrich.witnesses)


def _models(config: Config) -> tuple[str, ...]:
    """Fingerprints of the model that answers, and of the one that writes units where that is another."""
    found = generator_fingerprint(config)
    return (found,) if config.distils_itself else (found, generator_fingerprint(config.for_distiller()))


def _prompts(method: str, examples: Sequence[Example]) -> set[str]:
    """The templates of a method and of the examples' tasks."""
    owners = {example.task for example in examples} | {method}
    return {name for owner in owners for name in prompts.of(owner)}


def _need_labels(name: str, examples: Sequence[Example]) -> None:
    if bare := sum(not example.golden_answers for example in examples):
        raise UsageError(
            f"expected an answer to every question of {name}, found {bare} without: ingest labelled ones, "
            "or enrich with --enrich.gate_metric judge"
        )

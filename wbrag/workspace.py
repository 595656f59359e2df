"""The verbs of wbrag as a Python API: `Workspace("dir").index()` and so on. The command line calls nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from wbrag.config import Config, GeneratorConfig, fingerprint
from wbrag.errors import UsageError
from wbrag.files import sha256_of, write_atomically
from wbrag.progress import bar
from wbrag.store import Index, Store
from wbrag.types import Answer, Example, Hit

if TYPE_CHECKING:
    from wbrag.bench.grid import Bench
    from wbrag.datasets import IngestResult
    from wbrag.hosts.session import Session
    from wbrag.records import Handles
    from wbrag.shelf.releases import Release


class Run(NamedTuple):
    """Records by example id, how many were already there, and the folder they are in."""

    records: dict[str, dict[str, Any]]
    resumed: int
    folder: Path


class Workspace(Store):
    """One folder with a corpus, examples, indexes, verdicts, the shelf and its releases.

    Settings come from `config`, else from the environment and the defaults. Models start once per workspace object;
    `close()`, or leaving a `with` block, shuts them down.
    """

    def __init__(
        self, folder: str | Path | None = None, config: Config | None = None, *, progress: bool = False
    ) -> None:
        super().__init__(folder, config)
        self.progress = progress
        self._session: Session | None = None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def session(self) -> Session:
        if self._session is None:
            from wbrag.hosts.session import Session

            self._session = Session(self.config)
        return self._session

    def varied(self, **sections: Mapping[str, Any]) -> Workspace:
        """This workspace with other `enrich` or `retrieval` settings, over the same running models."""
        other = copy(self)
        other._session = self.session
        changed = {name: getattr(self.config, name).model_copy(update=values) for name, values in sections.items()}
        other.config = self.config.model_copy(update=changed)
        return other

    # -- data in ------------------------------------------------------------------------------------------------

    def ingest_corpus(
        self,
        path: str | Path,
        format: str = "flashrag",
        *,
        columns: Mapping[str, str] | None = None,
        chunk_words: int = 100,
        source: str | None = None,
    ) -> IngestResult:
        """Read a published corpus into `corpus/`; documents longer than 1.5 x `chunk_words` words are cut."""
        from wbrag.datasets import ingest_corpus

        with bar("reading the corpus", shown=self.progress) as update:
            return ingest_corpus(
                path,
                self.path / "corpus",
                format=format,
                columns=columns,
                chunk_words=chunk_words,
                source=source,
                progress=lambda rows, done, total: update(done, total),
            )

    def ingest_examples(
        self,
        path: str | Path,
        name: str,
        split: str,
        format: str = "flashrag",
        task: str = "qa",
        *,
        columns: Mapping[str, str] | None = None,
    ) -> IngestResult:
        """Read labelled questions into `examples/NAME/SPLIT.parquet`."""
        from wbrag.datasets import ingest_examples
        from wbrag.tasks import task as known_task

        known_task(task)
        for part in (name, split):
            if not part or "/" in part or part.startswith("."):
                raise UsageError(
                    f"expected a plain name for the examples, found {part!r}: use letters, digits and dashes"
                )
        return ingest_examples(path, self.examples_file(f"{name}/{split}"), format=format, task=task, columns=columns)

    # -- index --------------------------------------------------------------------------------------------------

    def index(self) -> dict[str, Any]:
        """Embed and index the corpus, resuming what a killed run left."""
        from wbrag.hosts.build import build_index

        start = time.time()
        digest = self.corpus_fingerprint()
        with bar("embedding the corpus", shown=self.progress) as update:
            manifest = build_index(
                self.session, self.path / "corpus", digest, self.path / "embeddings", self.path / "index", update
            )
        path = self.path / "index" / f"base-{fingerprint([s.sha256 for s in manifest.shards])}.json"
        pointer = {"manifest": str(path.relative_to(self.path)), "sha256": manifest.write(path), "corpus": digest}
        write_atomically(self.path / "index" / "base.json", json.dumps(pointer, indent=1) + "\n")
        return {
            "passages": manifest.count,
            "shards": len(manifest.shards),
            "dimension": manifest.dimension,
            "factory": manifest.factory,
            "encoder": manifest.encoder_model,
            "manifest": pointer["manifest"],
            "seconds": round(time.time() - start, 2),
        }

    # -- enrichment and publishing ------------------------------------------------------------------------------

    def enrich(self, examples: str, *, method: str = "naive", limit: int | None = None) -> dict[str, Any]:
        """Algorithm 1 over NAME/SPLIT; verdicts go to `verdicts/<fingerprint>/`, units to the shelf.

        A unit that holds a gold answer which none of its sources does (`leaking`) is not put on the shelf.
        """
        from wbrag.enrich.leakage import leaks
        from wbrag.enrich.summary import summarise

        start = time.time()
        run = self._enrich(examples, method, limit)
        kept = [row for row in run.records.values() if row["accepted"] and not leaks(row)]
        added = self._shelve(kept, run.folder.name)
        summary = summarise(list(run.records.values()), self.config.enrich.top_k)
        return {
            **summary,
            "resumed": run.resumed,
            **added,
            "fingerprint": run.folder.name,
            "verdicts": str(run.folder),
            "seconds": round(time.time() - start, 2),
        }

    def run_gates(self, examples: str, *, method: str = "naive", limit: int | None = None) -> list[dict[str, Any]]:
        """The verdicts of `enrich`, by id, without putting a unit on the shelf."""
        return list(self._enrich(examples, method, limit).records.values())

    def distil(self, examples: Sequence[Example]) -> tuple[dict[str, dict[str, Any]], int]:
        """A unit for each example from `metadata["documents"]`, and how many were there; kept in `distilled/`."""
        from wbrag.generators import generator_fingerprint
        from wbrag.hosts.rows import run_rows
        from wbrag.records import DistilJob
        from wbrag.retrieval.encoder import encoder_fingerprint

        c, e = self.config, self.config.enrich
        distiller = (e.distiller, e.max_sentences, e.fallback_sentences, e.max_unit_tokens)
        tag = fingerprint(generator_fingerprint(c), encoder_fingerprint(c.encoder), self.prompt_version(), distiller)
        folder = self.path / "distilled" / tag
        with bar("distilling evidence", shown=self.progress) as update:
            return run_rows(
                c, DistilJob(c), lambda: self.session.handles(self.path / "index", []), examples, folder, update
            )

    def _enrich(self, examples: str, method: str, limit: int | None) -> Run:
        from wbrag.records import EnrichJob

        self.examples(examples, limit)  # a wrong name is refused before anything is opened
        job = EnrichJob(self.config, method)
        return self._run(job, examples, limit, [(self.base()[0], "base")], "distilling what helped")

    def _shelve(self, accepted: list[dict[str, Any]], config_fingerprint: str) -> dict[str, int]:
        from wbrag.enrich.summary import unit_of
        from wbrag.generators import generator_fingerprint
        from wbrag.hosts.failures import plainly
        from wbrag.retrieval.encoder import encoder_fingerprint
        from wbrag.shelf.releases import now

        made_with = {
            "model": f"{self.config.generator.model}@{generator_fingerprint(self.config)}",
            "prompt_version": self.prompt_version(),
            "config_fingerprint": config_fingerprint,
            "created_at": now(),
        }
        encoder = encoder_fingerprint(self.config.encoder)
        known = {s.unit.id: s.vector for s in self.shelf.read()}
        units = [unit_of(row, **made_with) for row in sorted(accepted, key=lambda row: str(row["id"]))]
        fresh = list({u.id: u for u in units if u.id not in known}.values())
        if fresh:  # only new units are embedded
            with plainly("the embedding of new units"):
                vectors = asyncio.run(self.session.encoder().passages([u.contents for u in fresh]))
            known |= {u.id: vector for u, vector in zip(fresh, vectors)}
        if not units:
            return {"units_new": 0, "units_merged": 0}
        import numpy as np

        result = self.shelf.add(
            units, np.array([known[u.id] for u in units]), encoder, self.config.publish.near_duplicate
        )
        return {"units_new": len(result.new), "units_merged": result.merged}

    def publish(self, note: str = "") -> Release:
        """Everything on the shelf becomes the newest release."""
        from wbrag.shelf.publish import publish

        _, path, digest = self.base()
        return publish(self.config, self.path, self.shelf, self.releases, path, digest, note)

    # -- answers ------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        examples: str,
        *,
        release: str = "latest",
        against: str | None = None,
        method: str = "naive",
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Accuracy on NAME/SPLIT with `release` (`none`: base corpus alone; `closed-book`: no retrieval).

        With `against`, another such name, the paired gain over it with its 95% bootstrap interval and McNemar p.
        """
        from wbrag.metrics import bootstrap_ci, compare
        from wbrag.tasks import task

        start = time.time()
        rows = self.answers(examples, release=release, method=method, limit=limit)
        scores = [row["score"] for row in rows]
        origins = [origin for row in rows for origin in row["hit_origins"] or []]
        result: dict[str, Any] = {
            "examples": examples,
            "release": release,
            "method": method,
            "n": len(rows),
            "metric": task(self.examples(examples, 1)[0].task).metric,
            "score": sum(scores) / len(scores),
            "ci95": list(bootstrap_ci(scores, seed=self.config.seed)),
            "writeback_share": origins.count("writeback") / len(origins) if origins else 0.0,
            "errors": sum(1 for row in rows if row["error"]),
        }
        if against is not None:
            other = self.answers(examples, release=against, method=method, limit=limit)
            c = compare([row["score"] for row in other], scores, seed=self.config.seed)
            result |= {
                "against": against,
                "gain": c.gain,
                "gain_ci95": list(c.ci95),
                "p": c.p,
                "wins": c.wins,
                "losses": c.losses,
            }
        return {**result, "seconds": round(time.time() - start, 2)}

    def answers(
        self,
        examples: str,
        *,
        release: str = "latest",
        method: str = "naive",
        limit: int | None = None,
        indexes: list[Index] | None = None,
    ) -> list[dict[str, Any]]:
        """One record per question, in the order of the examples; kept in `answers/<fingerprint>/` and reused."""
        from wbrag.records import EvaluateJob

        if indexes is None:
            indexes = [] if release == "closed-book" else self.indexes(release)
        job = EvaluateJob(self.config, bool(indexes), method)
        label = f"answering {examples.rsplit('/')[-1]} ({'closed book' if not indexes else release})"
        return list(self._run(job, examples, limit, indexes, label).records.values())

    def bench(self, suite: str | Path, data: str | Path | None = None) -> Bench:
        """Run the grid of a suite file over this workspace; relative paths in it are taken from `data`."""
        from wbrag.bench.grid import run_grid
        from wbrag.bench.suite import load_suite, prepare

        wanted = load_suite(suite)
        prepare(self, wanted, data)
        if any(wanted.models.values()):
            self.close()  # each model opens a session of its own, and needs the GPUs

        def opened(generator: dict[str, Any]) -> Workspace:
            if not generator:
                return self
            changed = GeneratorConfig(**{**self.config.generator.model_dump(), **generator})
            return Workspace(self.path, self.config.model_copy(update={"generator": changed}), progress=self.progress)

        from wbrag.bench.page import write_report

        bench = run_grid(wanted, opened)
        write_report(bench, self.path / "reports")
        return bench

    def search(self, question: str, k: int = 5, *, release: str | None = None) -> list[Hit]:
        """The best `k` hits from base and write-back index, in this process, without Ray."""
        from wbrag.local import open_retriever

        [hits] = asyncio.run(open_retriever(self, self.default_release(release)).search([question], k))
        return hits

    def ask(self, question: str, *, task: str = "qa", method: str = "naive", release: str | None = None) -> Answer:
        """Answer one question in this process, without Ray."""
        from wbrag.local import ask

        return asyncio.run(ask(self, question, task, method, self.default_release(release)))

    # -- inside -------------------------------------------------------------------------------------------------

    def _run(self, job: Any, name: str, limit: int | None, indexes: list[Index], label: str) -> Run:
        from wbrag.generators import check, generator_fingerprint
        from wbrag.hosts.rows import run_rows
        from wbrag.methods import needs
        from wbrag.retrieval.encoder import encoder_fingerprint

        if limit is not None and limit < 1:
            raise UsageError(f"expected a limit of at least 1, found {limit}")
        examples = self.examples(name, limit)
        c = job.config
        settings = c.enrich if job.kind == "enrich" else c.retrieval
        wanted = {needs(job.method, c.methods)}
        if job.kind == "enrich" and c.enrich.gate_metric == "judge":
            wanted.add("logprobs")
        tag = fingerprint(
            job.kind,
            job.method,
            name,
            sha256_of(self.examples_file(name)),
            generator_fingerprint(c),
            encoder_fingerprint(c.encoder),
            self.prompt_version(),
            settings,
            getattr(c.methods, job.method, None),
            [[s.sha256 for s in manifest.shards] for manifest, _ in indexes],
        )
        folder = self.path / ("verdicts" if job.kind == "enrich" else "answers") / tag
        write_atomically(
            folder / "run.json",
            json.dumps(
                {
                    "examples": name,
                    "method": job.method,
                    "prompt_version": self.prompt_version(),
                    "generator": generator_fingerprint(c),
                    "encoder": encoder_fingerprint(c.encoder),
                    "config": c.model_dump(mode="json"),
                },
                indent=1,
            )
            + "\n",
        )

        def handles() -> Handles:  # called only if there is a row to work on
            asyncio.run(check(c, wanted))
            return self.session.handles(self.path / "index", indexes)

        with bar(label, shown=self.progress) as update:
            records, resumed = run_rows(c, job, handles, examples, folder, update)
        return Run({e.id: records[e.id] for e in examples}, resumed, folder)

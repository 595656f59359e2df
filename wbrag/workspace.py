"""The verbs of wbrag as a Python API: `Workspace("dir").index()` and so on. The command line calls nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wbrag.core.config import fingerprint
from wbrag.core.errors import UsageError
from wbrag.core.io.files import Location, inside, write_atomically
from wbrag.core.progress import bar
from wbrag.core.types import Answer, Hit
from wbrag.units.library import Library

if TYPE_CHECKING:
    from wbrag.data import IngestResult
    from wbrag.evaluation.bench.grid import Bench
    from wbrag.executor.local import LocalExecutor


class Workspace(Library):
    """One folder with a corpus, examples, indexes, verdicts, the shelf and its releases.

    Settings come from `config`, else from the environment and the defaults. Models start once per workspace object;
    `close()`, or leaving a `with` block, shuts them down.
    """

    _here: LocalExecutor | None = None

    # -- data in ------------------------------------------------------------------------------------------------

    def ingest_corpus(
        self,
        path: str | Location,
        format: str = "flashrag",
        *,
        columns: Mapping[str, str] | None = None,
        chunk_words: int = 100,
        source: str | None = None,
    ) -> IngestResult:
        """Read a published corpus into `corpus/`; documents longer than 1.5 x `chunk_words` words are cut."""
        from wbrag.data import ingest_corpus

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
        path: str | Location,
        name: str,
        split: str,
        format: str = "flashrag",
        task: str = "qa",
        *,
        columns: Mapping[str, str] | None = None,
        unlabelled: bool = False,
    ) -> IngestResult:
        """Read questions into `examples/NAME/SPLIT.parquet`; `unlabelled` ones are for the judge."""
        from wbrag.core.tasks import task as known_task
        from wbrag.data import ingest_examples

        known_task(task)
        for part in (name, split):
            if not part or "/" in part or part.startswith("."):
                raise UsageError(
                    f"expected a plain name for the examples, found {part!r}: use letters, digits and dashes"
                )
        out = self.examples_file(f"{name}/{split}")
        return ingest_examples(path, out, format=format, task=task, columns=columns, unlabelled=unlabelled)

    # -- index --------------------------------------------------------------------------------------------------

    def index(self) -> dict[str, Any]:
        """Embed and index the corpus, resuming what a killed run left."""
        from wbrag.executor.ray.index_build import build_index

        start = time.monotonic()
        digest = self.corpus_fingerprint()
        with bar("embedding the corpus", shown=self.progress) as update:
            manifest = build_index(
                self.session, self.path / "corpus", digest, self.path / "embeddings", self.path / "index", update
            )
        path = self.path / "index" / f"base-{fingerprint([s.sha256 for s in manifest.shards])}.json"
        pointer = {"manifest": inside(path, self.path), "sha256": manifest.write(path), "corpus": digest}
        write_atomically(self.path / "index" / "base.json", json.dumps(pointer, indent=1) + "\n")
        return {
            "passages": manifest.count,
            "shards": len(manifest.shards),
            "dimension": manifest.dimension,
            "factory": manifest.factory,
            "encoder": manifest.encoder_model,
            "manifest": pointer["manifest"],
            "seconds": round(time.monotonic() - start, 2),
        }

    # -- enrichment ------------------------------------------------------------------------------

    def enrich(self, examples: str, *, method: str = "naive", limit: int | None = None) -> dict[str, Any]:
        """Algorithm 1 over NAME/SPLIT; verdicts go to `verdicts/<fingerprint>/`, units to the shelf and its checks."""
        from wbrag.enrich.summary import summarise

        start = time.monotonic()
        run = self.verdicts(examples, method=method, limit=limit)
        added = self.shelve([row for row in run.rows if row["accepted"]], run.folder.name)
        checks = self.check()
        summary = summarise(run.rows, self.config.enrich.top_k)
        return {
            **summary,
            "resumed": run.resumed,
            **added,
            "checks": {"passed": checks["passed"], "failed": checks["failed"]},
            "fingerprint": run.folder.name,
            "verdicts": str(run.folder),
            "seconds": round(time.monotonic() - start, 2),
        }

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
        from wbrag.core.metrics import bootstrap_ci, compare, paired
        from wbrag.core.tasks import task

        start = time.monotonic()
        rows = self.answers(examples, release=release, method=method, limit=limit)
        scores = [row["score"] for row in rows if not row["error"]]
        origins = [origin for row in rows for origin in row["hit_origins"] or []]
        result: dict[str, Any] = {
            "examples": examples,
            "release": release,
            "method": method,
            "n": len(rows),
            "metric": task(self.examples(examples, 1)[0].task).metric,
            "score": sum(scores) / max(1, len(scores)),
            "ci95": list(bootstrap_ci(scores, seed=self.config.seed)),
            "writeback_share": origins.count("writeback") / len(origins) if origins else 0.0,
            "errors": sum(1 for row in rows if row["error"]),
        }
        if against is not None:
            other = self.answers(examples, release=against, method=method, limit=limit)
            c = compare(*paired(other, rows), seed=self.config.seed)
            result |= {
                "against": against,
                "gain": c.gain,
                "gain_ci95": list(c.ci95),
                "p": c.p,
                "wins": c.wins,
                "losses": c.losses,
            }
        return {**result, "seconds": round(time.monotonic() - start, 2)}

    def bench(self, suite: str | Location, data: str | Location | None = None) -> Bench:
        """Run the grid of a suite file over this workspace; relative paths in it are taken from `data`."""
        from wbrag.evaluation.bench.run import run_suite

        return run_suite(self, suite, data)

    def search(self, question: str, k: int = 5, *, release: str | None = None) -> list[Hit]:
        """The best `k` hits from base and write-back index, in this process, without Ray."""
        return self._local().search(question, k, self.default_release(release))

    def ask(self, question: str, *, task: str = "qa", method: str = "naive", release: str | None = None) -> Answer:
        """Answer one question in this process, without Ray."""
        return self._local().ask(question, task, method, self.default_release(release))

    def _local(self) -> LocalExecutor:
        if self._here is None or self._here.store is not self:  # a `varied` workspace has settings of its own
            from wbrag.executor.local import LocalExecutor

            self._here = LocalExecutor(self)
        return self._here

    def close(self) -> None:
        """Stop every model that this workspace started."""
        if self._here is not None:
            self._here.close()
            self._here = None
        super().close()

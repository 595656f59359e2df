"""The workspace: the verbs of wbrag as a Python API, `Workspace("dir").index()` and so on.

It composes and delegates: `layout` knows where everything lies, `runner` runs jobs over models, `library` keeps units,
`publisher` makes releases. The command line calls nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from wbrag.core.config import Config
from wbrag.core.io.files import Location
from wbrag.core.types import Answer, Example, Hit, Passage
from wbrag.data.ingest import IngestResult
from wbrag.data.reading import ReadOptions
from wbrag.enrich.rows import Row, Run
from wbrag.enrich.start_check import warnings
from wbrag.enrich.summary import summarise
from wbrag.evaluation.accuracy import accuracy
from wbrag.evaluation.diagnosis.diagnose import LIMIT as DIAGNOSED
from wbrag.evaluation.diagnosis.diagnose import Diagnosis, diagnose
from wbrag.executor.runner import Runner
from wbrag.units.decisions import Decisions, State
from wbrag.units.examinations import Examinations
from wbrag.units.governance import Governance
from wbrag.units.layout import Index, Layout
from wbrag.units.learn import learn
from wbrag.units.library import Library
from wbrag.units.publisher import Publisher
from wbrag.units.push import push
from wbrag.units.refresh import refresh
from wbrag.units.releases import Release, Releases
from wbrag.units.review import ReviewItem
from wbrag.units.table import UnitTable
from wbrag.units.usage import Usage

if TYPE_CHECKING:
    from wbrag.evaluation.bench.figures import Bench
    from wbrag.executor.learners import Kind
    from wbrag.executor.local import LocalExecutor
    from wbrag.executor.ray.session import Session
    from wbrag.executor.reader import ReaderResult
    from wbrag.executor.trainer import TrainResult


class Workspace:
    """One folder with a corpus, examples, indexes, verdicts, units and their releases.

    Settings come from `config`, else from the environment and the defaults. Models start once per workspace object;
    `close()`, or leaving a `with` block, shuts them down. With a `session` (`wbrag.executor.ray.session.Session`) the
    models of that one are used, and left running.
    """

    def __init__(
        self,
        folder: str | Location | None = None,
        config: Config | None = None,
        *,
        progress: bool = False,
        session: Session | None = None,
    ) -> None:
        self.layout = Layout(folder, config)
        self.runner = Runner(self.layout, progress=progress, session=session)
        self.library = Library(self.layout, self.runner, progress=progress)
        self.publisher = Publisher(self.library, self.runner)
        self._local: LocalExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every model that this workspace started."""
        if self._local is not None:
            self._local.close()
            self._local = None
        self.runner.close()

    def varied(self, **sections: Mapping[str, Any]) -> Workspace:
        """This workspace with other `enrich` or `retrieval` settings, over the same running models."""
        layout = self.layout.varied(**sections)
        return Workspace(layout.path, layout.config, progress=self.runner.progress, session=self.session)

    # -- the verbs ----------------------------------------------------------------------------------------------

    def ingest_corpus(
        self,
        path: str | Location,
        format: str = "flashrag",
        *,
        chunk_words: int = 100,
        source: str | None = None,
        **how: Unpack[ReadOptions],
    ) -> IngestResult:
        """Read a published corpus into `corpus/`; documents longer than 1.5 x `chunk_words` words are cut."""
        shown = self.runner.progress
        return self.layout.ingest_corpus(path, format, chunk_words=chunk_words, source=source, progress=shown, **how)

    def ingest_examples(
        self,
        path: str | Location,
        name: str,
        split: str,
        format: str = "flashrag",
        task: str = "qa",
        *,
        unlabelled: bool = False,
        **how: Unpack[ReadOptions],
    ) -> IngestResult:
        """Read questions into `examples/NAME/SPLIT.parquet`; `unlabelled` ones are for the judge."""
        return self.layout.ingest_examples(path, name, split, format, task, unlabelled=unlabelled, **how)

    def index(self) -> dict[str, Any]:
        """Embed and index the corpus, resuming what a killed run left."""
        start = time.monotonic()
        (manifest, embedded, built), file = self.runner.index()
        return {
            "passages": manifest.count,
            "embedded": embedded,
            "shards": len(manifest.shards),
            "shards_built": built,
            "dimension": manifest.dimension,
            "factory": manifest.factory,
            "encoder": manifest.encoder_model,
            "manifest": file,
            "warnings": self.runner.unread(manifest.count),
            "seconds": round(time.monotonic() - start, 2),
        }

    def enrich(self, examples: str, *, method: str = "naive", limit: int | None = None) -> dict[str, Any]:
        """Algorithm 1 over NAME/SPLIT; verdicts go to `verdicts/<fingerprint>/`, units to the library."""
        start = time.monotonic()
        run = self.verdicts(examples, method=method, limit=limit)
        added = self.shelve((row for row in run.rows if row["accepted"]), run.folder.name)
        checks = self.check()
        summary = summarise(run.rows, self.config.enrich.top_k)
        return {
            **summary,
            "warnings": warnings(summary, self.config),
            "resumed": run.resumed,
            **added,
            "checks": {"passed": checks["passed"], "failed": checks["failed"]},
            "fingerprint": run.folder.name,
            "verdicts": str(run.folder),
            "seconds": round(time.monotonic() - start, 2),
        }

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
        start = time.monotonic()
        found = accuracy(self.runner, examples, release=release, against=against, method=method, limit=limit)
        return {**found, "seconds": round(time.monotonic() - start, 2)}

    def train_retriever(self, examples: str, *, kind: Kind = "adapter", limit: int | None = None) -> TrainResult:
        """What learns from the usefulness of documents to NAME/SPLIT; `publish` releases an adapter or a reranker."""
        from wbrag.executor.trainer import train_retriever  # torch

        return train_retriever(self.runner, examples, kind=kind, limit=limit)

    def train_reader(
        self, examples: Sequence[str], *, apart: Sequence[str] = (), measured: Sequence[str] = ()
    ) -> ReaderResult:
        """A LoRA adapter that `generator.model` reads better with, out of questions that are not kept `apart`."""
        from wbrag.executor.reader import train_reader  # torch

        return train_reader(self.runner, examples, apart=apart, measured=measured)

    def diagnose(self, examples: str, *, limit: int | None = DIAGNOSED, method: str = "naive") -> Diagnosis:
        """Where the base library fails NAME/SPLIT, question by question, over `limit` of them."""
        return diagnose(self.runner, examples, limit=limit, method=method)

    def bench(
        self,
        suite: str | Location,
        data: str | Location | None = None,
        *,
        sets: Sequence[str] = (),
        models: Sequence[str] = (),
    ) -> Bench:
        """Run the grid of a suite file over this workspace, or these sets and models of it; relative paths in it are
        taken from `data`."""
        from wbrag.evaluation.bench.run import run_suite  # matplotlib

        return run_suite(self.runner, suite, data, sets=sets, models=models)

    def search(
        self, question: str, k: int = 5, *, release: str | None = None, filter: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """The best `k` hits from base and write-back index, in this process, without Ray.

        `filter`: of metadata, as `{"lang": "de", "year": {"gte": 2019}}`.
        """
        return self.local.search(question, k, self.default_release(release), filter)

    def ask(
        self,
        question: str,
        *,
        task: str = "qa",
        method: str = "naive",
        release: str | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer one question in this process, without Ray; `filter` as in `search`."""
        return self.local.ask(question, task, method, self.default_release(release), filter)

    def rollback(self, id: str, *, by: str = "", why: str = "") -> Release:
        """Append a release that answers as release `id` did; decisions on units stay as they are."""
        return Governance(self.layout).rollback(id, by=by, why=why)

    def push(self, release: str = "latest") -> dict[str, Any]:
        """Make the outside store's collection hold exactly the units of `release`; `none`: no unit."""
        return push(self.layout, self.release(release))

    def refresh(self) -> dict[str, Any]:
        """Mark what is stale, and distil it again from the sources as they are now."""
        return refresh(self.library, self.runner)

    def learn(self) -> dict[str, Any]:
        """Candidates from served answers that users liked."""
        return learn(self.library, self.runner)

    def review(self) -> list[ReviewItem]:
        """The knowledge owner's work list, most urgent first."""
        for table in (self.usage.answers, self.usage.feedback):
            table.compact()
        found = Governance(self.layout)
        return [item for reason, ids in found.work().items() for item in found.work_items(reason, ids)]

    @property
    def local(self) -> LocalExecutor:
        """The executor of this process."""
        if self._local is None:
            from wbrag.executor.local import LocalExecutor  # FAISS and the encoder

            self._local = LocalExecutor(self.layout)
        return self._local

    # -- of its parts -------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        return self.layout.config

    @property
    def path(self) -> Location:
        return self.layout.path

    @property
    def progress(self) -> bool:
        return self.runner.progress

    @property
    def session(self) -> Session:
        return self.runner.session

    @property
    def shelf(self) -> UnitTable:
        return self.layout.shelf

    @property
    def releases(self) -> Releases:
        return self.layout.releases

    @property
    def decisions(self) -> Decisions:
        return self.layout.decisions

    @property
    def results(self) -> Examinations:
        return self.layout.results

    @property
    def usage(self) -> Usage:
        return self.layout.usage

    def examples(self, name: str, limit: int | None = None) -> list[Example]:
        """See `Layout.examples`."""
        return self.layout.examples(name, limit)

    def passages(self, ids: Collection[str]) -> dict[str, Passage]:
        """See `Layout.passages`."""
        return self.layout.passages(ids)

    def release(self, name: str = "latest") -> Release:
        """See `Layout.release`."""
        return self.layout.release(name)

    def indexes(self, release: str | Release = "latest") -> list[Index]:
        """See `Layout.indexes`."""
        return self.layout.indexes(release)

    def default_release(self, release: str | None) -> str:
        """See `Layout.default_release`."""
        return self.layout.default_release(release)

    def verdicts(self, examples: str, *, method: str = "naive", limit: int | None = None) -> Run:
        """See `Runner.verdicts`."""
        return self.runner.verdicts(examples, method=method, limit=limit)

    def answers(
        self,
        examples: str,
        *,
        release: str = "latest",
        method: str = "naive",
        limit: int | None = None,
        indexes: list[Index] | None = None,
    ) -> list[Row]:
        """See `Runner.answers`."""
        return self.runner.answers(examples, release=release, method=method, limit=limit, indexes=indexes)

    def units(self, examples: Sequence[Example], *, round_trip: bool = False) -> Run:
        """See `Runner.distil`."""
        return self.runner.distil(examples, round_trip=round_trip)

    def shelve(self, rows: Iterable[Mapping[str, Any]], config_fingerprint: str, **scores: float) -> dict[str, int]:
        """See `Library.shelve`."""
        return self.library.shelve(rows, config_fingerprint, **scores)

    def check(self, ids: Collection[str] | None = None) -> dict[str, Any]:
        """See `Library.check`."""
        return self.library.check(ids)

    def approve_what_passed(self) -> int:
        """See `Library.approve_what_passed`."""
        return self.library.approve_what_passed()

    def decide(self, ids: Sequence[str], state: State, *, by: str, why: str) -> int:
        """See `Library.decide`."""
        return self.library.decide(ids, state, by=by, why=why)

    def mark_stale(self) -> int:
        """See `Library.mark_stale`."""
        return self.library.mark_stale()

    def publish(self, note: str = "", *, by: str = "", policy: str | None = None, retriever: str = "latest") -> Release:
        """See `Publisher.publish`."""
        return self.publisher.publish(note, by=by, policy=policy, retriever=retriever)

    def __getattr__(self, name: str) -> Any:
        """Whatever else one of its parts can do."""
        for part in ("layout", "runner", "library", "publisher"):
            if not name.startswith("_") and part in self.__dict__ and hasattr(self.__dict__[part], name):
                return getattr(self.__dict__[part], name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

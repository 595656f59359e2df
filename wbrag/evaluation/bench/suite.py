"""Suite file: what a benchmark works on, in YAML. `wbrag bench --suite FILE [--data DIR]`.

What is wrong with the file is named before anything starts.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError

from wbrag.core.config import Config
from wbrag.core.errors import UsageError, unknown
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, location, write_atomically
from wbrag.core.io.parquet import read_file
from wbrag.core.io.schemas import from_row
from wbrag.core.model_sections import Section
from wbrag.core.types import Example, content_hash
from wbrag.data.ingest import ingest_examples
from wbrag.enrich.usefulness import gold_ids
from wbrag.evaluation.demo_world import prepare as prepare_demo
from wbrag.executor.runner import Runner
from wbrag.methods import NAMES
from wbrag.units.layout import Layout

Control = Literal["raw", "copies", "rows", "random", "no_utility_gate", "no_document_gate"]
Knob = Literal["tau_s", "tau_delta", "tau_doc", "n_min"]
Varied = Literal["enrich", "retrieval"]  # what one running engine serves in any setting
Share = Annotated[float, Field(gt=0, le=1)]


class DatasetSource(Section):
    """Published data to read into the workspace; a relative path is taken from `--data`."""

    path: str
    format: str = "flashrag"
    task: str = "qa"
    without: str | None = Field(None, description="of examples, those that this file of the same format also holds")
    half: Literal["tuning", "report"] | None = Field(
        None, description="of examples, by the hash of each id: one to choose settings on, the other to report once"
    )

    def holds(self, example: Example) -> bool:
        """Whether an example is of that half."""
        first = int(content_hash(f"half {example.id}")[:8], 16) % 2 == 0
        return self.half is None or first == (self.half == "tuning")


class QuestionSet(Section):
    """Examples to train the library with, and held-out ones; `..._limit` draws so many, always the same."""

    train: str
    test: str
    train_limit: int | None = Field(None, ge=1)
    test_limit: int | None = Field(None, ge=1)
    methods: tuple[str, ...] | None = Field(None, min_length=1, description="only these of the suite's methods")


class Studies(Section):
    """Points to measure beside the grid; all of them read the scores of one enrichment run."""

    sweeps: dict[Knob, tuple[int | float, ...]] = Field({}, description="threshold -> its values")
    training_size: tuple[Share, ...] = Field((), description="shares of the training examples")
    gate_metric: tuple[Literal["acc", "em", "f1", "logprob", "judge"], ...] = Field(
        (), description="logprob and judge cost calls of their own, and are compared with the labels' metric"
    )
    near_duplicates: tuple[float, ...] = Field(
        (), description="without the training questions whose cosine to a held-out one is at least this"
    )
    top_k: tuple[PositiveInt, ...] = Field((), description="K of gates and answers; these cost calls of their own")
    empty_prompt: bool = Field(False, description="closed-book scores from the prompt with documents, over none")
    cross: bool = Field(False, description="units made with one method or model, used by another")


class RetrieverStudy(Section):
    """Retrievers that learn from each set's usefulness, beside their controls; every set with gold passages."""

    reranker: bool = Field(False, description="train one too: minutes a set on a CPU")
    hybrid: float = Field(0.3, ge=0, lt=1, description="weight of words in the hybrid way; 0: without it")
    unseen: tuple[str, ...] = Field((), description="NAME/SPLIT that teach nothing: ranked by what the sets taught")
    unseen_limit: int | None = Field(None, ge=1)


class Suite(Section):
    name: str = Field(pattern=r"^[\w.-]+$", description="also the name of its report")
    world: Literal["demo"] | None = Field(None, description="build the demo's world instead of reading data")
    draws: tuple[PositiveInt, ...] = Field(
        (), description="of the demo's questions: demo-1/train, demo-1/new_facts ..."
    )
    corpus: DatasetSource | None = None
    examples: dict[str, DatasetSource] = Field({}, description="NAME/SPLIT -> where it comes from")
    encoder: dict[str, Any] = Field({}, description="settings of `encoder`")
    models: dict[str, dict[str, Any]] = Field({"default": {}}, description="name -> settings of `generator`")
    variants: dict[str, dict[Varied, dict[str, Any]]] = Field(
        {}, description="name -> section -> its settings: every model runs with each, such as to choose among them"
    )
    sets: dict[str, QuestionSet] = Field(min_length=1)
    methods: tuple[str, ...] = Field(("naive",), min_length=1)
    controls: tuple[Control, ...] = ()
    studies: Studies = Studies()
    retrievers: RetrieverStudy | None = None
    train: dict[str, Any] = Field({}, description="settings of `train`")
    rows_reranker: str = Field("", description="the trained retriever whose reranker reads the control `rows`, by name")
    pools: dict[str, tuple[str, ...]] = Field({}, description="name -> sets whose gains are pooled (random effects)")

    @property
    def needs_all_scores(self) -> bool:
        """Whether the enrichment must record every score, also those that no verdict of its own needs."""
        of_stored = {"random", "no_utility_gate", "no_document_gate"} & set(self.controls)
        s = self.studies
        asked = s.sweeps or s.training_size or s.gate_metric or s.near_duplicates or s.top_k or s.empty_prompt
        return bool(of_stored or asked)

    def methods_of(self, set_name: str) -> tuple[str, ...]:
        """The methods that answer this set."""
        only = self.sets[set_name].methods
        return self.methods if only is None else only

    @property
    def settings(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Section -> settings of every model, or of every model in each variant, by the name that its cells have."""
        if not self.variants:
            return {model: {"generator": own} for model, own in self.models.items()}
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for model, own in self.models.items():
            for variant, more in self.variants.items():
                found[f"{model}, {variant}"] = {"generator": own} | {str(name): values for name, values in more.items()}
        return found

    def of_set(self, set_name: str) -> dict[str, Any]:
        """What the suite says that decides the figures of a set's cells."""
        questions = self.sets[set_name].model_dump(mode="json", exclude={"methods"})
        own = self.model_dump(mode="json", include={"controls", "rows_reranker", "studies", "train", "encoder"})
        return {"questions": questions} | own

    def named(self, set_name: str) -> tuple[str, str]:
        """The examples that a set trains with and is tested on."""
        return self.sets[set_name].train, self.sets[set_name].test

    @property
    def cells(self) -> int:
        return len(self.settings) * sum(len(self.methods_of(name)) for name in self.sets)


def load_suite(file: str | Location) -> Suite:
    """The suite in `file`; what is wrong with it is named before anything starts."""
    path = location(file)
    if not path.is_file():
        raise UsageError(f"expected a suite file, found none at {path}: check --suite")
    try:
        suite = Suite(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"suite {path}: expected {first['msg'].lower()} at {key!r}: correct it") from None
    except (TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"expected a YAML mapping in {path}, found ({reason}): mend it") from None
    for name in suite.methods:
        if name not in NAMES:
            raise unknown("method", name, list(NAMES))
    for set_name in suite.sets:
        for name in suite.methods_of(set_name):
            if name not in suite.methods:
                raise unknown("method of the suite", name, list(suite.methods))
    for name in (name for pool in suite.pools.values() for name in pool):
        if name not in suite.sets:
            raise unknown("set of a pool", name, list(suite.sets))
    _check_values(suite, path)
    return suite


def _check_values(suite: Suite, path: Location) -> None:
    """What the settings themselves would refuse, refused before hours of work."""
    points: list[tuple[str, dict[str, Any]]] = [
        ("encoder", suite.encoder),
        ("train", suite.train),
        *(("generator", settings) for settings in suite.models.values()),
    ]
    points += [(section, values) for variant in suite.variants.values() for section, values in variant.items()]
    points += [("enrich", {knob: value}) for knob, values in suite.studies.sweeps.items() for value in values]
    for section, values in points:
        try:
            Config.model_fields[section].annotation(**values)  # type: ignore[misc]
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join([section, *map(str, first["loc"])])
            raise UsageError(f"suite {path}: expected {first['msg'].lower()} at {key!r}: correct it") from None


def prepare(runner: Runner, suite: Suite, data: str | Location | None, *, index: bool = True) -> None:
    """Bring the suite's data and its base index into the workspace, where they are not there yet."""
    layout = runner.layout
    if suite.world == "demo":
        prepare_demo(layout, draws=suite.draws)
    if suite.corpus:
        _read_corpus(layout, suite.corpus, _path(suite.corpus, data), runner.progress)
    asked = {name for set_name in suite.sets for name in suite.named(set_name)}
    asked |= set(suite.retrievers.unseen if suite.retrievers else ())
    for name, source in ((name, source) for name, source in suite.examples.items() if name in asked):
        if not layout.examples_file(name).is_file():
            set_name, _, split = name.partition("/")
            keep = _kept(source, data)
            layout.ingest_examples(_path(source, data), set_name, split, source.format, source.task, keep=keep)
        else:
            _check_present(layout, name, source, data)
    for question_set in suite.sets.values():  # a missing one is named now, not after an hour
        layout.examples(question_set.train, 1)
        layout.examples(question_set.test, 1)
        if suite.retrievers:
            _need_gold(layout, question_set)
    for name in suite.retrievers.unseen if suite.retrievers else ():
        _need_gold(layout, QuestionSet(train=name, test=name))
    if index and not layout.indexed():
        runner.index()


def _check_present(layout: Layout, name: str, source: DatasetSource, data: str | Location | None) -> None:
    """Examples that are there already may be another file's, the whole, or the other half; read again to compare."""
    found = layout.examples(name)
    if foreign := sum(not source.holds(example) for example in found):
        raise UsageError(
            f"expected the {source.half} half in {name}, found {foreign} questions of the other one: "
            "give each half a split of its own, such as nq/report"
        )
    path = None if data is None and not location(source.path).is_absolute() else _path(source, data)
    if path is None or not path.is_file():
        return  # read before, and gone since
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "examples.parquet"
        ingest_examples(path, file, format=source.format, task=source.task, keep=_kept(source, data))
        wanted = {fingerprint(asdict(from_row(Example, row))) for row in read_file(file).to_pylist()}
    if other := len(wanted ^ {fingerprint(asdict(example)) for example in found}):
        raise UsageError(
            f"expected the questions of {path} in {name}, found {other} that are of one alone: "
            "give the suite's a split of their own, such as nq/train-related"
        )


def _kept(source: DatasetSource, data: str | Location | None) -> Callable[[Example], bool]:
    """Whether an example is of the source's half, and not of the file that it leaves out."""
    if source.without is None:
        return source.holds
    other = _path(source.model_copy(update={"path": source.without}), data)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "examples.parquet"
        ingest_examples(other, file, format=source.format, task=source.task)
        left_out = set(read_file(file, columns=["id"])["id"].to_pylist())
    return lambda example: source.holds(example) and example.id not in left_out


def _need_gold(layout: Layout, questions: QuestionSet) -> None:
    for name, limit in ((questions.train, questions.train_limit), (questions.test, questions.test_limit)):
        if not any(gold_ids(example) for example in layout.examples(name, limit)):
            raise UsageError(
                f"expected gold passages of some questions of {name} for the suite's retrievers, found none: "
                'give metadata {"gold": [ids]}, or leave retrievers out'
            )


def _read_corpus(layout: Layout, source: DatasetSource, path: Location, progress: bool) -> None:
    """Into an empty workspace; a corpus that is there must be this one."""
    record = layout.path / "corpus.json"
    told = {"file": path.name, "bytes": path.stat().st_size if path.is_file() else None, "format": source.format}
    if any((layout.path / "corpus").glob("*.parquet")):
        if not record.is_file() or json.loads(record.read_text(encoding="utf-8")) != told:
            raise UsageError(
                f"expected an empty workspace or one with the suite's corpus {path.name}, "
                f"found another corpus in {layout.path}: use --workspace DIR"
            )
        return
    write_atomically(record, json.dumps(told) + "\n")  # first, so that a killed run is recognised
    layout.ingest_corpus(path, source.format, progress=progress)


def _path(source: DatasetSource, data: str | Location | None) -> Location:
    path = location(source.path).expanduser()
    if path.is_absolute():
        return path
    if data is None:
        raise UsageError(f"expected --data DIR for the suite's {source.path}, found none: say where the data is")
    return location(data) / str(path)

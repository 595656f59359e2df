"""Suites are checked before anything starts; the shipped ones are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbrag.core.errors import UsageError, WbragError
from wbrag.evaluation.bench.run import dry_run
from wbrag.evaluation.bench.suite import DatasetSource, QuestionSet, Suite, load_suite, prepare
from wbrag.workspace import Workspace

SUITES = Path(__file__).resolve().parents[4] / "suites"


@pytest.mark.parametrize("file", sorted(SUITES.glob("*.yaml")), ids=lambda f: f.stem)
def test_the_shipped_suites_load(file: Path) -> None:
    suite = load_suite(file)
    assert suite.name == file.stem and suite.cells >= 1
    named = {q for s in suite.sets.values() for q in (s.train, s.test)}
    assert suite.world == "demo" or named <= set(suite.examples)


def test_the_papers_suite_is_its_whole_table() -> None:
    suite = load_suite(SUITES / "paper.yaml")
    assert (len(suite.models), len(suite.sets), len(suite.methods)) == (2, 6, 4) and suite.cells == 48


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected a suite file"),
        ("- a\n- b\n", "YAML mapping"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\nmethod: [naive]\n", "'method'"),
        ("name: x\nsets: {a: {train: a/b}}\n", "'sets.a.test'"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\nmethods: [naiv]\n", "did you mean 'naive'"),
        ("name: x\nsets: {a: {train: a/b, test: a/c, methods: [flare]}}\n", "method of the suite"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\ncontrols: [none]\n", "controls"),
        ("name: ../x\nsets: {a: {train: a/b, test: a/c}}\n", "'name'"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\nmodels: {m: {modle: z}}\n", "generator.modle"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\nvariants: {v: {enrich: {tau: 1}}}\n", "enrich.tau"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\nvariants: {v: {seed: {}}}\n", "variants.v.seed"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\nstudies: {sweeps: {n_min: [0]}}\n", "enrich.n_min"),
        ("name: x\nsets: {a: {train: a/b, test: a/c}}\nstudies: {training_size: [2]}\n", "training_size"),
    ],
)
def test_a_wrong_suite_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "suite.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        load_suite(file)


def test_another_corpus_in_the_workspace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "contents": "A\\nText of a."}\n', encoding="utf-8")
    (tmp_path / "other.jsonl").write_text('{"id": "b", "contents": "B\\nText of b, longer."}\n', encoding="utf-8")
    sets = {"a": QuestionSet(train="a/train", test="a/test")}
    workspace = Workspace(tmp_path / "w")
    with pytest.raises(WbragError, match="wbrag ingest examples"):  # the corpus was read, the examples are not there
        prepare(workspace, Suite(name="x", corpus=DatasetSource(path="corpus.jsonl"), sets=sets), tmp_path)
    with pytest.raises(WbragError, match="wbrag ingest examples"):
        prepare(workspace, Suite(name="x", corpus=DatasetSource(path="corpus.jsonl"), sets=sets), tmp_path)
    with pytest.raises(UsageError, match="found another corpus"):
        prepare(workspace, Suite(name="x", corpus=DatasetSource(path="other.jsonl"), sets=sets), tmp_path)


def test_examples_of_another_file_under_the_same_name_are_refused(tmp_path: Path) -> None:
    """A name says nothing about which questions were read under it: those there are compared with the suite's file."""
    line = '{{"id": "q{0}", "question": "what is {0}?", "golden_answers": ["{0}"]}}\n'
    for name, numbers in (("whole", range(4)), ("part", range(2))):
        (tmp_path / f"{name}.jsonl").write_text("".join(map(line.format, numbers)), encoding="utf-8")
    suite = Suite(
        name="x",
        examples={"toy/train": DatasetSource(path="whole.jsonl")},
        sets={"toy": QuestionSet(train="toy/train", test="toy/train")},
    )
    with Workspace(tmp_path / "w") as w:
        w.ingest_examples(tmp_path / "part.jsonl", "toy", "train")
        with pytest.raises(UsageError, match="whole.jsonl in toy/train, found 2 that are of one alone"):
            prepare(w.runner, suite, tmp_path)


def test_every_model_runs_in_every_variant() -> None:
    sets = {"a": QuestionSet(train="a/train", test="a/test")}
    plain = Suite(name="x", sets=sets, models={"m": {"model": "n"}})
    assert plain.settings == {"m": {"generator": {"model": "n"}}} and plain.cells == 1
    varied = plain.model_copy(
        update={"variants": {"as it is": {}, "extractive": {"enrich": {"distiller": "extractive"}}}}
    )
    assert list(varied.settings) == ["m, as it is", "m, extractive"] and varied.cells == 2
    assert varied.settings["m, extractive"] == {"generator": {"model": "n"}, "enrich": {"distiller": "extractive"}}


def test_a_part_of_a_set_without_another_file_and_what_a_suite_comes_to(tmp_path: Path) -> None:
    """Two files of the same questions: what `related.jsonl` holds is left out, and nothing is indexed or started."""
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "contents": "A\\nText of a."}\n', encoding="utf-8")
    lines = [f'{{"id": "q{n}", "question": "Who {n}?", "golden_answers": ["x"]}}' for n in range(5)]
    (tmp_path / "all.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "related.jsonl").write_text("\n".join(lines[:2]), encoding="utf-8")
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "name: x\ncorpus: {path: corpus.jsonl}\nmodels: {m: {}, n: {}}\nmethods: [naive, flare]\ncontrols: [raw]\n"
        "examples: {t/train: {path: all.jsonl, without: related.jsonl}, t/dev: {path: related.jsonl}}\n"
        "sets: {t: {train: t/train, test: t/dev, train_limit: 2}}\n",
        encoding="utf-8",
    )
    with Workspace(tmp_path / "w") as workspace:
        for _ in range(2):  # what was read before is compared with the files
            cells = dry_run(workspace.runner, suite, tmp_path)
        assert [e.id for e in workspace.layout.examples("t/train")] == ["q2", "q3", "q4"]
        assert not workspace.layout.indexed()
    assert [(c["model"], c["method"]) for c in cells] == [
        ("m", "naive"),
        ("m", "flare"),
        ("n", "naive"),
        ("n", "flare"),
    ]
    assert all((c["enriched"], c["questions"], c["answers"]) == (2, 2, 8) for c in cells)

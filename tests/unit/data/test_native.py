"""The readers on slices of the real sets, where the shared data folder is at hand."""

from itertools import islice

import pytest

from tests.support.shared_data import ABSENT, BENCH, SHARED
from wbrag.data.beir import beir_qrels, beir_queries
from wbrag.data.formats import FORMATS
from wbrag.data.source import Input

NATIVE = SHARED / "native"
pytestmark = pytest.mark.skipif(not NATIVE.is_dir(), reason=ABSENT)


@pytest.mark.parametrize(
    ("format", "name", "count"),
    [
        ("squad", "squad.xquad-en.json", 1190),
        ("squad", "zsre.squad-shape.json", 127),
        ("hotpotqa", "hotpotqa.json", 100),
        ("fever", "fever.jsonl", 300),
        ("boolq", "boolq.jsonl", 300),
        ("nq", "nq-open.jsonl", 500),
    ],
)
def test_examples(format: str, name: str, count: int) -> None:
    reader = FORMATS[format].examples
    assert reader
    examples = [item for _, item in reader(Input(str(NATIVE / name)))]
    assert len(examples) == len({example.id for example in examples}) == count
    if corpus := FORMATS[format].corpus:
        ids = {passage.id for _, passage in corpus(Input(str(NATIVE / name)))}
        assert all(ids.issuperset(example.metadata["gold"]) and example.metadata["gold"] for example in examples)


def test_beir() -> None:
    topics = Input(str(NATIVE / "beir-nfcorpus.topics.tsv"))
    queries = {query_id for query_id, _, _ in beir_queries(topics)}
    assert len(queries) == 323
    assert queries == set(beir_qrels(NATIVE / "beir-nfcorpus.qrels.txt"))
    reader = FORMATS["beir"].examples
    assert reader
    assert not list(reader(topics))
    assert "BEIR queries have no answers" in topics.first and topics.quarantined == 323


def test_flashrag_corpus() -> None:
    reader = FORMATS["flashrag"].corpus
    assert reader
    passages = [item for _, item in islice(reader(Input(str(BENCH / "corpus.jsonl.gz"))), 1000)]
    assert len({passage.id for passage in passages}) == 1000
    assert all(passage.title and passage.text for passage in passages)


@pytest.mark.parametrize("name", ["nq", "boolq", "hotpotqa", "fever", "squad", "zsre"])
def test_flashrag_examples(name: str) -> None:
    reader = FORMATS["flashrag"].examples
    assert reader
    examples = [item for _, item in reader(Input(str(BENCH / name / "dev.jsonl")))]
    assert all(example.metadata["gold"] for example in examples)

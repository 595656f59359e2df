"""Whatever a file holds, a reader yields records or says in one sentence what is wrong."""

from __future__ import annotations

import gzip
import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.core.io.objects import ODD
from wbrag.core.reading import read_answer
from wbrag.core.types import Example, Hit, Passage
from wbrag.data.beir import beir_qrels
from wbrag.data.formats import FORMATS
from wbrag.data.ingest import ingest_corpus, ingest_examples
from wbrag.data.source import Input
from wbrag.enrich.distil_replies import parse_evidence, parse_unit
from wbrag.methods.planner import sub_questions
from wbrag.units.checks.figures import figures
from wbrag.units.checks.instructions import find

pytestmark = pytest.mark.fuzz
NAMES = (
    "id _id title text contents question golden_answers answers answer metadata gold trust updated_at source context "
    "data paragraphs qas answer_start is_impossible passage claim label evidence evidences supporting_facts input "
    "output provenance wikipedia_id wikipedia_title question_text example_id short_answers url"
).split()
text = st.text(max_size=30) | st.sampled_from(["", " ", "a" * 300, "\ud800", "\x00", "[1]", "{", "nan", "1e400", "٣"])
scalar = st.none() | st.booleans() | st.integers() | st.floats() | text
value = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | text, inner, max_size=5),
    max_leaves=12,
)
record = st.dictionaries(st.sampled_from(NAMES), value, max_size=8)
formats = [name for name in FORMATS if name != "hf"]
endings = {"csv": ".csv", "tsv": ".tsv", "parquet": ".parquet"}


def said(work: Any) -> None:
    """Run a reader to its end; what it refuses must be one sentence."""
    try:
        for found in work():
            assert isinstance(found, (Passage, Example))
    except WbragError as error:
        assert str(error).strip() and "\n" not in str(error) and len(str(error)) < 2000


def each(path: Path, format: str) -> None:
    for reader in (FORMATS[format].corpus, FORMATS[format].examples):
        if reader is not None:
            said(lambda reader=reader: reader(Input(str(path))))


@pytest.mark.parametrize("format", formats)
@given(rows=st.lists(record, max_size=4), shape=st.sampled_from(["lines", "array", "object"]), cut=st.integers(0, 40))
def test_records_of_any_shape(
    tmp_path_factory: pytest.TempPathFactory, format: str, rows: list[Any], shape: str, cut: int
) -> None:
    path = tmp_path_factory.mktemp("f") / f"a{endings.get(format, '.jsonl')}"
    if format == "parquet":
        try:
            pq.write_table(pa.Table.from_pylist(rows), path)
        except (pa.ArrowException, ValueError, OverflowError, UnicodeError, TypeError):
            return
    else:
        whole: Any = {"lines": None, "array": rows, "object": {"data": rows}}[shape]
        lines = [json.dumps(row) for row in rows] if whole is None else [json.dumps(whole)]
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    each(path, format)
    path.write_bytes(path.read_bytes()[: -cut or None])
    each(path, format)


@pytest.mark.parametrize("format", formats)
@given(raw=st.binary(max_size=200), packed=st.booleans())
def test_bytes_of_any_kind(tmp_path_factory: pytest.TempPathFactory, format: str, raw: bytes, packed: bool) -> None:
    path = tmp_path_factory.mktemp("f") / f"a{endings.get(format, '.jsonl')}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(raw)[: -(len(raw) % 9) or None] if packed else raw)
    each(path, format)


@given(rows=st.lists(record, min_size=1, max_size=4))
def test_ingest_writes_all_or_nothing(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("f")
    (folder / "a.jsonl").write_bytes("\n".join(map(json.dumps, rows)).encode("utf-8", "surrogatepass"))
    asked = partial(ingest_examples, task="qa")
    for write, out in ((ingest_corpus, folder / "corpus"), (asked, folder / "q.parquet")):
        try:
            write(folder / "a.jsonl", out, format="flashrag")  # type: ignore[operator]
            assert out.exists()
        except WbragError:
            assert not out.exists()


@given(st.text(max_size=400), st.text(max_size=120))
def test_replies_and_texts_of_any_kind(reply: str, passage: str) -> None:
    hits = [Hit("p1", passage, f"{passage}. The lamp is oak.", 0.5)]
    parse_evidence(reply, hits, 8)
    parse_unit(reply)
    assert len(read_answer(reply)) <= len(reply)
    assert sub_questions(reply, "Which?") and ODD.sub("", reply) is not None
    for _, start, end in find(reply):
        assert 0 <= start < end <= len(reply)
    figures(reply)


@given(st.binary(max_size=200))
def test_judgements_of_any_kind(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.mktemp("f") / "qrels.tsv"
    file.write_bytes(raw)
    try:
        beir_qrels(file)
    except WbragError as error:
        assert "\n" not in str(error)

"""The whole job beside a PostgreSQL that holds the corpus, in which units get a table of their own."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.hosts import Host
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, ROOT, config
from wbrag.core.allowed import Allowed, checked_filter
from wbrag.core.errors import CannotFilter, WbragError
from wbrag.core.types import Unit
from wbrag.retrieval.encoder import Encoder
from wbrag.retrieval.external import Held, open_store
from wbrag.retrieval.external.pgvector import PgVector
from wbrag.units.release_contents import release_ids
from wbrag.units.releases import Release
from wbrag.units.stored import StoredUnit

pytestmark = pytest.mark.integration
pgserver = pytest.importorskip("pgserver", reason="pgserver has wheels up to Python 3.12")
psycopg = pytest.importorskip("psycopg")
DSN = "WBRAG_TEST_DSN"
OPTIONS = {"dsn_env": DSN, "table": "kb.notes", "id": "no", "title": "head", "text": "body", "vector": "e"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """PostgreSQL with pgvector on a socket of its own; as root, pgserver runs it as a user that it makes.

    That user cannot enter pytest's temporary folders.
    """
    running = pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete")
    with psycopg.connect(running.get_uri()) as connection:
        connection.execute("CREATE EXTENSION vector")
    yield running.get_uri()
    running.cleanup()


@pytest.fixture(scope="module")
def notes(data: Path, encoder: Encoder) -> list[tuple[int, str, str, str]]:
    """The toy corpus as rows with vectors."""
    texts = [json.loads(line)["contents"] for line in (data / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    vectors = encoder.encode_passages(texts)
    return [(n, *text.split("\n"), str(vector.tolist())) for n, (text, vector) in enumerate(zip(texts, vectors))]


@pytest.fixture
def dsn(server: str, notes: list[tuple[int, str, str, str]], monkeypatch: pytest.MonkeyPatch) -> str:
    """The toy corpus in a table of somebody else's making: other names, numbers as ids, an index."""
    with psycopg.connect(server) as connection:
        connection.execute("DROP SCHEMA IF EXISTS kb CASCADE; DROP TABLE IF EXISTS wbrag_units, wbrag_units_release")
        connection.execute("CREATE SCHEMA kb")
        connection.execute("CREATE TABLE kb.notes (no bigint PRIMARY KEY, head text, body text, e vector(384))")
        connection.cursor().executemany("INSERT INTO kb.notes VALUES (%s, %s, %s, %s)", notes)
        connection.execute("CREATE INDEX ON kb.notes USING hnsw (e vector_cosine_ops)")
        connection.execute("INSERT INTO kb.notes VALUES (1000, NULL, 'not embedded yet', NULL)")
    monkeypatch.setenv(DSN, server)
    return server


def beside(push: bool = False, **options: object) -> dict[str, object]:
    """The settings `retriever`."""
    return {"kind": "pgvector", "options": {**OPTIONS, **options}, "push": push, "max_retries": 1, "timeout_s": 120}


def store(endpoint: OpenAIServer, **options: object) -> PgVector:
    found = open_store(config(endpoint, retriever=beside(**options)).retriever)
    assert isinstance(found, PgVector)
    return found


def rows(dsn: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query, values).fetchall()


def own_search(dsn: str, question: list[float]) -> list[tuple[str, float]]:
    """Ids and scores by the query that docs/integrations.md gives, which calls the corpus `passages`."""
    page = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    [query] = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE VIEW passages AS SELECT no::text AS id, head AS title, body AS text, e AS embedding "
            "FROM kb.notes WHERE e IS NOT NULL"
        )
        found = connection.execute(query, {"q": str(question)}).fetchall()
        connection.execute("DROP VIEW passages")
    assert {release for *_, release in found if release} == {"r0001"}
    return [(id, score) for id, _, _, score, _ in found]


def test_enrich_publish_push_evaluate_roll_back(
    dsn: str, no_ray: None, data: Path, endpoint: OpenAIServer, encoder: Encoder, host: Host, tmp_path: Path
) -> None:
    with host.workspace(tmp_path / "w", endpoint, retriever=beside()) as workspace:
        workspace.ingest_examples(data / "train.jsonl", "toy", "train")
        first = workspace.enrich("toy/train", limit=12)
        assert first["quarantined"] == 0 and first["accepted"] == first["units_new"] > 0
        assert not (tmp_path / "w" / "index" / "base.json").exists(), "nothing of the corpus is indexed here"
        one = workspace.publish()
        assert one.units == first["units_new"] and one.base_manifest == ""
        with pytest.raises(psycopg.errors.UndefinedTable):  # nothing is written there without being asked
            rows(dsn, "SELECT FROM wbrag_units")

        result = workspace.push()
        assert result == {"release": "r0001", "before": "", "units": one.units, "added": one.units, "removed": 0}
        assert workspace.push() | {"before": ""} == result | {"added": 0}
        held = {row[0] for row in rows(dsn, "SELECT id FROM wbrag_units")}
        assert held == release_ids(workspace, one)
        assert rows(dsn, "SELECT release, units FROM wbrag_units_release") == [("r0001", one.units)]

        found = workspace.evaluate("toy/train", release="latest", against="none")
        assert found["n"] == len(ITEMS) and 0 < found["writeback_share"] < 1 and found["gain"] >= 0
        question = workspace.shelf.read()[0].unit.question_ids[0]
        asked = next(e.question for e in workspace.examples("toy/train") if e.id == question)
        hits = workspace.search(asked, 5)
        assert hits[0].origin == "writeback" and {h.origin for h in hits} == {"base", "writeback"}
        assert {h.origin for h in workspace.search(asked, 5, release="none")} == {"base"}
        both = own_search(dsn, encoder.encode_queries([asked])[0].tolist())
        assert [h.id for h in hits] == [id for id, _ in both], (
            "the store's own search over both must rank as wbrag does"
        )
        assert [h.score for h in hits] == pytest.approx([score for _, score in both], abs=1e-3)  # fp16 here, fp32 there

        assert workspace.enrich("toy/train")["units_new"] > 0
    with host.workspace(tmp_path / "w", endpoint, retriever=beside(push=True)) as workspace:  # now without being told
        two = workspace.publish()
        assert {row[0] for row in rows(dsn, "SELECT id FROM wbrag_units")} == release_ids(workspace, two) > held
        workspace.rollback(one.id)
        assert {row[0] for row in rows(dsn, "SELECT id FROM wbrag_units")} == held
        assert rows(dsn, "SELECT release FROM wbrag_units_release") == [("r0003",)]
        assert workspace.push("none")["removed"] == len(held)
        assert rows(dsn, "SELECT id FROM wbrag_units") == []
        assert rows(dsn, "SELECT count(*) FROM kb.notes") == [(len(ITEMS) + 1,)], "the corpus is only read"


def test_what_changes_in_the_store_is_worked_out_again(
    dsn: str, data: Path, endpoint: OpenAIServer, host: Host, tmp_path: Path
) -> None:
    with host.workspace(tmp_path / "w", endpoint, retriever=beside()) as workspace:
        workspace.ingest_examples(data / "train.jsonl", "toy", "train")
        first = workspace.enrich("toy/train", limit=4)
        assert (first["resumed"], first["quarantined"]) == (0, 0), workspace.verdicts("toy/train", limit=4).rows
        assert workspace.enrich("toy/train", limit=4)["resumed"] == 4
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE kb.notes SET body = 'The codes were taken down.'")
        assert workspace.enrich("toy/train", limit=4)["resumed"] == 0
        with pytest.raises(WbragError, match="approved units"):  # the first run's went stale before they went out
            workspace.publish()
        assert "stale" in workspace.decisions.states().values()


@pytest.mark.parametrize("options", [{"exact": True}, {"exact": False}, {"exact": True, "metric": "inner_product"}])
def test_it_finds_what_wbrags_own_index_would(
    dsn: str, data: Path, endpoint: OpenAIServer, encoder: Encoder, options: dict[str, object]
) -> None:
    texts = [json.loads(line)["contents"] for line in (data / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [f"What is the code of {item}?" for item in ITEMS[:3]]
    vectors = encoder.encode_queries(asked)
    found = asyncio.run(store(endpoint, **options).search(asked, vectors, 7))
    for hits, scores in zip(found, vectors @ encoder.encode_passages(texts).T):
        order = np.argsort(-scores)[:7]
        assert [h.id for h in hits] == [str(i) for i in order]
        assert [h.score for h in hits] == pytest.approx(scores[order].tolist(), abs=1e-5)
        assert all(f"{h.title}\n{h.text}" == texts[int(h.id)] and h.origin == "base" for h in hits)


def test_passages_by_id_and_ties_at_the_cut(dsn: str, endpoint: OpenAIServer, encoder: Encoder) -> None:
    found = store(endpoint).passages(["3", "1000", "77777"])
    assert set(found) == {"3", "1000"} and found["1000"].title == "" and found["3"].title == "Note 3"
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE kb.notes SET e = (SELECT e FROM kb.notes WHERE no = 5)")
    [hits] = asyncio.run(store(endpoint, exact=True).search(["x"], encoder.encode_queries(["x"]), 3))
    assert [h.id for h in hits] == ["0", "1", "10"], "ids are texts"


def shelved(count: int, dimension: int = 384) -> list[StoredUnit]:
    made = [Unit(f"t{i}", f"x{i}", ("q",), ((str(i), "h"),), ()) for i in range(count)]
    return [StoredUnit(u, np.eye(dimension, dtype=np.float32)[i]) for i, u in enumerate(made)]


def release(number: int, encoder: str = "e1") -> Release:
    return replace(Release.of_base("", "", encoder), id=f"r{number:04d}", number=number)


def test_a_push_that_fails_leaves_the_units_of_the_release_before(dsn: str, endpoint: OpenAIServer) -> None:
    collection, units = store(endpoint), shelved(3)
    assert collection.held() == Held("", frozenset())
    collection.hold(release(1), units)
    before = collection.held()
    assert before == Held("r0001", frozenset(s.unit.id for s in units))
    broken = [*units[:1], StoredUnit(replace(units[1].unit, text="other"), np.full(384, np.nan, np.float32))]
    with pytest.raises(WbragError, match="NaN not allowed in vector"):
        collection.hold(release(2), broken)
    assert collection.held() == before
    columns = "id, title, text, sources"
    assert rows(dsn, f"SELECT {columns} FROM wbrag_units ORDER BY title LIMIT 1") == [
        (units[0].unit.id, "t0", "x0", ["0"])
    ]


def test_another_encoder_replaces_every_vector(dsn: str, endpoint: OpenAIServer) -> None:
    collection = store(endpoint)
    collection.hold(release(1), shelved(3))
    collection.hold(release(2, "e2"), shelved(2, 8))
    assert rows(dsn, "SELECT DISTINCT vector_dims(embedding) FROM wbrag_units") == [(8,)]
    assert len(collection.held().ids) == 2


def test_two_pushes_at_once_end_as_one_of_them(dsn: str, endpoint: OpenAIServer) -> None:
    units = shelved(40)
    with ThreadPoolExecutor(4) as threads:  # also when there is no table yet
        jobs = [threads.submit(store(endpoint).hold, release(n), units[n:]) for n in range(1, 9)]
        for job in jobs:
            job.result()
    held = store(endpoint).held()
    assert held.ids == {s.unit.id for s in units[int(held.release[1:]) :]}


def test_a_role_that_may_only_read_can_search(
    dsn: str, endpoint: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA kb TO reader; GRANT SELECT ON kb.notes TO reader")
    monkeypatch.setenv(DSN, dsn.replace("postgres:@", "reader:@"))
    reader = store(endpoint)
    [hits] = asyncio.run(reader.search(["x"], np.eye(384, dtype=np.float32)[:1], 2))
    assert len(hits) == 2
    with pytest.raises(WbragError, match="permission denied"):
        reader.hold(release(1), shelved(1))
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "kb.nots"}, 'relation "kb.nots" does not exist'),
        ({"vector": "embedding"}, "embedding"),
        ({"text": 'body" FROM kb.notes; DROP TABLE kb.notes; --'}, "does not exist"),
        ({"dsn_env": "WBRAG_TEST_UNSET"}, "WBRAG_TEST_UNSET"),
        ({"tabel": "kb.notes"}, "did you mean 'table'"),
        ({"metric": "l2"}, "retriever.options.metric"),
    ],
)
def test_wrong_settings_are_one_sentence(
    dsn: str, endpoint: OpenAIServer, options: dict[str, object], said: str
) -> None:
    with pytest.raises(WbragError, match=re.escape(said)) as caught:
        asyncio.run(store(endpoint, **options).search(["x"], np.eye(384, dtype=np.float32)[:1], 2))
    assert "\n" not in str(caught.value)
    assert rows(dsn, "SELECT count(*) FROM kb.notes") == [(len(ITEMS) + 1,)]


def test_vectors_of_another_length_and_a_server_that_is_away(
    dsn: str, endpoint: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WbragError, match="different vector dimensions 384 and 3"):
        asyncio.run(store(endpoint).search(["x"], np.eye(3, dtype=np.float32)[:1], 2))
    monkeypatch.setenv(DSN, "postgresql://someone:s3cret@127.0.0.1:1/x")
    with pytest.raises(WbragError, match="Connection refused") as caught:
        store(endpoint).held()
    assert "s3cret" not in str(caught.value)


def test_a_lost_connection_is_made_again(dsn: str, endpoint: OpenAIServer, encoder: Encoder) -> None:
    searched = store(endpoint)
    vectors = encoder.encode_queries(["code"])
    [before] = asyncio.run(searched.search(["code"], vectors, 3))
    others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
    rows(dsn, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    [after] = asyncio.run(searched.search(["code"], vectors, 3))
    assert after == before


GROUPS = (None, ["hr"], ["hr", "legal"], [])
METADATA = ({"lang": "de", "year": 2019}, {"lang": ["de", "en"], "year": "2020"}, {"year": 2021.5, "ok": True}, None)


@pytest.mark.parametrize("groups", [None, [], ["hr"], ["legal", "board"]])
@pytest.mark.parametrize(
    "wanted",
    [{}, {"lang": "en"}, {"lang": ["fr", "de"], "year": {"gte": 2019, "lt": 2020}}, {"year": 2020}, {"ok": True}]
    + [{"ok": 1}, {"year": {"gt": 2019}}, {"lang": {"gte": "d", "lt": "e"}}, {"a'b\"; --": "x"}, {"lang": "d%"}],
)
def test_what_may_be_seen_is_searched_exactly(
    dsn: str, endpoint: OpenAIServer, notes: list[Any], groups: list[str] | None, wanted: dict[str, Any]
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE kb.notes ADD COLUMN acl text[], ADD COLUMN facts jsonb")
        told = [(GROUPS[no % 4], json.dumps(METADATA[no // 4 % 4]), no) for no, *_ in notes]
        connection.cursor().executemany("UPDATE kb.notes SET acl = %s, facts = %s::jsonb WHERE no = %s", told)
    found = store(endpoint, groups="acl", metadata="facts", exact=True)
    allowed = Allowed(None if groups is None else frozenset(groups), checked_filter(wanted))
    queries = np.array([json.loads(notes[3][3])], np.float32)
    [everything] = asyncio.run(found.search(["x"], queries, 1000))
    [narrowed] = asyncio.run(store(endpoint, groups="acl", metadata="facts").search(["x"], queries, 1000, allowed))
    tests = allowed.tests()

    def may(no: int) -> bool:
        listed, facts = GROUPS[no % 4], METADATA[no // 4 % 4] or {}
        if groups is not None and listed is not None and set(listed).isdisjoint(groups):
            return False
        return all(field in facts and test(json.dumps(facts[field])) for field, test in tests.items())

    expected = [hit for hit in everything if may(int(hit.id))]
    assert {hit.id for hit in narrowed} == {hit.id for hit in expected}
    assert [hit.score for hit in narrowed] == pytest.approx([hit.score for hit in expected])
    kept = found.passages(["1", "2"])
    assert kept["1"].groups == ("hr",) and kept["2"].metadata == METADATA[0]


def test_a_table_without_metadata_refuses_a_filter(dsn: str, endpoint: OpenAIServer) -> None:
    with pytest.raises(CannotFilter, match=r"no metadata \(retriever.options.metadata\): leave the filter out"):
        asyncio.run(store(endpoint).search(["x"], np.ones((1, 384), np.float32), 3, Allowed(None, '{"a": 1}')))

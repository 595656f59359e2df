"""pgvector store: passages in PostgreSQL searched by wbrag's own query vectors, units in a table beside them.

The passages' vectors must be those of wbrag's encoder over `title\\ntext`; wbrag only reads their table. Names are
quoted as identifiers, values are parameters, and the connection string comes from an environment variable.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, TypeVar

import psycopg
from psycopg import Connection, sql
from pydantic import Field

from wbrag.core.allowed import EVERYTHING, NUMBER, Allowed, equals
from wbrag.core.errors import CannotFilter, UsageError, WbragError, said
from wbrag.core.model_sections import Section
from wbrag.core.sections import RetrieverConfig
from wbrag.core.types import Hit, Passage
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.external import EmbeddedUnit, Held, NamedRelease
from wbrag.retrieval.external.options import read_options
from wbrag.retrieval.external.retry import TransientError, with_retries

T = TypeVar("T")
OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
DISTANCE = {"cosine": ("<=>", "1 - ({})"), "inner_product": ("<#>", "-({})")}  # operator, and the score from it


class PgOptions(Section):
    dsn_env: str = Field("WBRAG_PG_DSN", description="name of the environment variable that holds the DSN")
    table: str = Field(description="the passages, as TABLE or SCHEMA.TABLE")
    id: str = "id"
    title: str | None = Field("title", description="null: passages have no title")
    text: str = "text"
    vector: str = "embedding"
    metric: Literal["cosine", "inner_product"] = Field("cosine", description="what the table's vector index is for")
    groups: str | None = Field(None, description="a text[] of the groups that may see a passage; null: everybody may")
    metadata: str | None = Field(None, description="a jsonb that searches can be narrowed by")
    exact: bool = Field(False, description="read the whole table, also where it has a vector index")
    units: str = Field("wbrag_units", description="the table that units are pushed into; TABLE_release says which")


class PgVector:
    """A `Base`, a `Collection`, and it knows its passages and their version."""

    def __init__(self, settings: RetrieverConfig) -> None:
        self.settings, self.options = settings, read_options(PgOptions, settings)
        self.threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="pgvector")
        self._thread = threading.local()  # a connection a thread
        self._connected = False

    # -- the passages -------------------------------------------------------------------------------------------

    @property
    def narrows(self) -> bool:
        return bool(self.options.groups or self.options.metadata)

    async def search(
        self, queries: Sequence[str], vectors: Vectors, k: int, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        """The best `k` passages of each row of `vectors` [n, d]; with `exact`, ties at the cut go by id.

        Of what is `allowed` exactly: an index of vectors would look at its nearest and leave most of them out.
        """
        search = partial(self._in_transaction, lambda c: self._search(c, vectors, k, allowed))
        return await asyncio.get_running_loop().run_in_executor(self.threads, search)

    def passages(self, ids: Collection[str]) -> dict[str, Passage]:
        if not ids:
            return {}
        # Literals without a type, so that an index on an id of any type is used.
        wanted = sql.SQL(", ").join(map(sql.Literal, sorted(ids)))
        labels = sql.SQL(", ").join(map(_column, (self.options.groups, self.options.metadata)))
        query = sql.SQL("SELECT {row}, {labels} FROM {table} WHERE {id} IN ({wanted})").format(
            wanted=wanted, labels=labels, **self._names()
        )
        rows = self._in_transaction(lambda c: c.execute(query).fetchall())
        return {
            id: Passage(id, title, text, groups=tuple(groups or ()), metadata=metadata or {})
            for id, title, text, groups, metadata in rows
        }

    def version(self) -> str:
        """The number of passages and a hash of their ids, titles and texts: reads the table once."""
        query = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(concat_ws(E'\\n', {row}), 0)::numeric), 0) FROM {table}"
        ).format(**self._names())
        [row] = self._in_transaction(lambda c: c.execute(query).fetchall())
        return f"{row[0]}-{row[1]}"

    def _search(self, connection: Connection[Any], vectors: Vectors, k: int, allowed: Allowed) -> list[list[Hit]]:
        where, values = narrowed(allowed, self.options.groups, self.options.metadata)
        query, found = self._query(where), []
        exact = self.options.exact or bool(values)
        # An HNSW index sees no more than `ef_search` candidates.
        local = "SELECT set_config('hnsw.ef_search', %s, true), set_config('enable_indexscan', %s, true)"
        connection.execute(local, (str(min(1000, max(40, k))), "off" if exact else "on"))
        for vector in vectors:
            rows = connection.execute(query, {"q": _literal(vector), "k": k, **values}).fetchall()
            hits = [Hit(*row) for row in rows if math.isfinite(row[3])]
            found.append(sorted(hits, key=lambda h: (-h.score, h.id)))
        return found

    def _query(self, where: sql.Composable) -> sql.Composed:
        names, (operator, score) = self._names(), DISTANCE[self.options.metric]
        distance = sql.SQL("{vector} {operator} %(q)s").format(vector=names["vector"], operator=sql.SQL(operator))
        tie = sql.SQL(', {id}::text COLLATE "C"').format(**names) if self.options.exact else sql.SQL("")
        return sql.SQL(
            "SELECT {row}, {score} FROM {table} WHERE {vector} IS NOT NULL{where} ORDER BY {distance}{tie} LIMIT %(k)s"
        ).format(where=where, score=sql.SQL(score).format(distance), distance=distance, tie=tie, **names)

    def _names(self) -> dict[str, Any]:
        o = self.options
        title = sql.SQL("''") if o.title is None else sql.SQL("coalesce({}, '')").format(sql.Identifier(o.title))
        id, text = sql.Identifier(o.id), sql.Identifier(o.text)
        row = sql.SQL("{}::text, {}, coalesce({}, '')").format(id, title, text)
        return {"row": row, "id": id, "table": _table(o.table), "vector": sql.Identifier(o.vector)}

    # -- the units ----------------------------------------------------------------------------------------------

    def held(self) -> Held:
        def read(c: Connection[Any]) -> Held:
            if c.execute("SELECT to_regclass(%s)", (self._units().as_string(c),)).fetchone() == (None,):
                return Held("", frozenset())
            return self._held(c)

        return self._in_transaction(read)

    def hold(self, release: NamedRelease, units: Sequence[EmbeddedUnit]) -> None:
        """In one transaction; another push waits, and whoever searches sees the units of one release or the other."""
        self._in_transaction(lambda c: self._hold(c, release, units))

    def _hold(self, connection: Connection[Any], release: NamedRelease, units: Sequence[EmbeddedUnit]) -> None:
        names = {"units": self._units(), "release": self._units("_release")}

        def run(statement: str, values: Any = None) -> Any:
            return connection.execute(sql.SQL(statement).format(**names), values)  # type: ignore[arg-type]

        run("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (self.options.units,))
        if run("SELECT to_regclass(%s)", (names["units"].as_string(connection),)).fetchone() == (None,):
            run(
                "CREATE TABLE {units} (id text PRIMARY KEY, title text NOT NULL, text text NOT NULL, "
                "sources text[] NOT NULL, embedding vector NOT NULL)"
            )
            run(
                "CREATE TABLE {release} (release text NOT NULL, encoder text NOT NULL, units bigint NOT NULL, "
                "pushed_at timestamptz NOT NULL DEFAULT now())"
            )
        before = self._held(connection).ids
        if run("SELECT 1 FROM {release} WHERE encoder = %s", (release.encoder,)).fetchone() is None:
            run("DELETE FROM {units}")  # vectors of another encoder, if any
            before = frozenset()
        wanted = {s.unit.id: s for s in units}
        run("DELETE FROM {units} WHERE id = ANY(%s)", (sorted(before - wanted.keys()),))
        rows = [
            (s.unit.id, s.unit.title, s.unit.text, [id for id, _ in s.unit.sources], _literal(s.vector))
            for id, s in wanted.items()
        ]
        with connection.cursor() as cursor:
            upsert = (
                "INSERT INTO {units} VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (id) DO UPDATE SET sources = EXCLUDED.sources, embedding = EXCLUDED.embedding"
            )
            cursor.executemany(sql.SQL(upsert).format(**names), rows)
        run("DELETE FROM {release}")
        row = (release.id, release.encoder, len(wanted))
        run("INSERT INTO {release} (release, encoder, units) VALUES (%s, %s, %s)", row)

    def _held(self, connection: Connection[Any]) -> Held:
        release = connection.execute(sql.SQL("SELECT release FROM {}").format(self._units("_release"))).fetchone()
        ids = connection.execute(sql.SQL("SELECT id FROM {}").format(self._units())).fetchall()
        return Held(release[0] if release else "", frozenset(row[0] for row in ids))

    def _units(self, suffix: str = "") -> Any:
        return _table(self.options.units + suffix)

    # -- the connection -----------------------------------------------------------------------------------------

    def _in_transaction(self, work: Callable[[Connection[Any]], T]) -> T:
        """`work` in one transaction of this thread's connection, tried again where the server went away."""

        def once() -> T:
            connection = self._connection()
            try:
                with connection.transaction():
                    limit = str(int(self.settings.timeout_s * 1000))
                    connection.execute("SELECT set_config('statement_timeout', %s, true)", (limit,))
                    return work(connection)
            except psycopg.errors.QueryCanceled:
                raise WbragError(
                    f"expected PostgreSQL to answer within {self.settings.timeout_s:g} s, found a slower query: "
                    "raise retriever.timeout_s, give the table a vector index, or name its state with retriever.version"
                ) from None
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                connection.close()
                raise TransientError(said(error)) from None
            except psycopg.Error as error:
                raise WbragError(
                    f"expected PostgreSQL to hold what retriever.options name, found {said(error)}: check them"
                ) from None

        return with_retries(f"the database that {self.options.dsn_env} names", once, self.settings.max_retries)

    def _connection(self) -> Connection[Any]:
        """Raises at once where it never was reached: a wrong password is no matter of patience."""
        connection: Connection[Any] | None = getattr(self._thread, "connection", None)
        if connection is None or connection.closed:
            seconds = max(2, math.ceil(self.settings.timeout_s))
            try:
                connection = psycopg.connect(
                    _dsn(self.options.dsn_env), autocommit=True, connect_timeout=seconds, prepare_threshold=None
                )
            except psycopg.Error as error:
                reason = said(error)
                if self._connected:
                    raise TransientError(reason) from None
                where = self.options.dsn_env
                raise WbragError(f"expected a PostgreSQL where {where} says, found: {reason}; check it") from None
            self._thread.connection, self._connected = connection, True
        return connection


def narrowed(allowed: Allowed, groups: str | None, metadata: str | None) -> tuple[sql.Composable, dict[str, Any]]:
    """Further conditions of a query for what is `allowed`, and their values, by the columns of these names."""
    where, values = list[sql.Composable](), dict[str, Any]()
    if allowed.groups is not None and groups:
        values["groups"] = sorted(allowed.groups)
        where.append(sql.SQL(" AND ({0} IS NULL OR {0} && %(groups)s::text[])").format(sql.Identifier(groups)))
    if allowed.filter and not metadata:
        raise CannotFilter("the table of passages has no metadata (retriever.options.metadata): leave the filter out")
    for number, (field, condition) in enumerate(json.loads(allowed.filter or "{}").items()):
        value = sql.SQL("({} -> {})").format(sql.Identifier(metadata or ""), sql.Placeholder(f"field{number}"))
        values[f"field{number}"] = field
        if not isinstance(condition, dict):
            values[f"any{number}"] = [json.dumps(one) for one in equals(condition)]
            where.append(sql.SQL(" AND {} @> ANY({}::text[]::jsonb[])").format(value, sql.Placeholder(f"any{number}")))
            continue
        for name, bound in condition.items():
            values[f"{name}{number}"] = bound
        where.append(_within(value, condition, number))
    return sql.Composed(where), values


def _within(value: sql.Composable, bounds: dict[str, Any], number: int) -> sql.Composable:
    """One of the elements of `value`, or itself, is within all bounds; a text that reads as a number is one."""
    text = sql.SQL("(one.value #>> ARRAY[]::text[])")
    if isinstance(next(iter(bounds.values())), str):
        one, kind = (
            sql.SQL('{} COLLATE "C"').format(text),
            sql.Composed([sql.SQL("jsonb_typeof(one.value) = 'string'")]),
        )
    else:
        one = sql.SQL("{}::numeric").format(text)
        kind = sql.SQL("jsonb_typeof(one.value) = 'number' OR {} ~ {}").format(
            text, sql.Literal(f"^({NUMBER.pattern})$")
        )
    conditions = sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(one, sql.SQL(OPERATORS[name]), sql.Placeholder(f"{name}{number}")) for name in bounds
    )
    return sql.SQL(
        " AND EXISTS (SELECT 1 FROM jsonb_array_elements(CASE jsonb_typeof({v}) WHEN 'array' THEN {v} "
        "ELSE jsonb_build_array({v}) END) AS one(value) WHERE CASE WHEN {kind} THEN {conditions} ELSE false END)"
    ).format(v=value, kind=kind, conditions=conditions)


def _column(name: str | None) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("NULL")


def _table(name: str) -> Any:
    return sql.Identifier(*name.split("."))


def _literal(vector: Vectors) -> str:
    """A vector as pgvector writes it."""
    return "[" + ",".join(f"{x:.9g}" for x in vector) + "]"


def _dsn(name: str) -> str:
    dsn = os.environ.get(name, "")
    if not dsn:
        raise UsageError(f"expected a PostgreSQL DSN in the environment variable {name}, found none: set it")
    return dsn

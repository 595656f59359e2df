"""Reuse of rows: what runs under other settings found out, wherever the same settings decide it.

A run's folder is named by all of its settings. Its `run.json` also holds a fingerprint of every stage of the work, over
what decides that stage alone, and each row the key of its example (`asked_key`). So a longer context, another
threshold, another method's prompt or one example more repeats no call whose reply is known: rows are taken over whole,
or from the stage on where they differ.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from wbrag.core import prompts
from wbrag.core.config import Config
from wbrag.core.errors import WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, listed
from wbrag.core.io.parquet import read_all
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Passage
from wbrag.enrich.distil import Distilled, Distiller
from wbrag.enrich.enrich import NOTHING, Enricher, Known, Verdict, WrittenUnit, nobody
from wbrag.enrich.row_files import write_rows
from wbrag.enrich.row_jobs import DistilJob, EnrichJob, EvaluateJob, RowJob
from wbrag.enrich.rows import Row, asked_key, verdict_of, verdict_row
from wbrag.enrich.scores import SCORING
from wbrag.enrich.usefulness import depth
from wbrag.enrich.witnesses import VERSION as WITNESSES_VERSION
from wbrag.generators import reply_fingerprint
from wbrag.methods import Rag, prompt_owners
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.retrieval.external import is_external, state
from wbrag.retrieval.keywords.index import VERSION as WORDS_VERSION
from wbrag.retrieval.reranker import named
from wbrag.units.layout import Index, Layout

log = logging.getLogger(__name__)
ROWS_VERSION = 2  # raised whenever the code would make other rows from the same settings
OUTSIDE = 1000  # passages that an outside store is asked for at once
UNREADABLE = (WbragError, ValueError, OSError, AttributeError)  # damaged, or no description of a run
ROWS = 4096  # in one file of rows that are taken over


def stages(job: RowJob, indexes: Sequence[Index]) -> dict[str, str]:
    """A fingerprint of each stage of `job`, over what decides it and nothing else."""
    c, e = job.config, job.config.enrich
    if isinstance(job, EvaluateJob):
        sources = {unit: sorted(found) for unit, found in (job.sources or {}).items()}
        looked_up = (c.retrieval, _shards(indexes), sources, *state(c)) if job.retrieve else ()
        moved = tuple(part.fingerprint for part in (job.adapter, job.reranker) if part)
        return {"answers": fingerprint(*_answers(c, job.method), *looked_up, *_encoder(c, job.retrieve), *moved)}
    corpus = (_shards(indexes), *state(c))
    units = fingerprint(ROWS_VERSION, *_distilling(c, e), encoder_fingerprint(c.encoder), corpus)
    corpus = (*corpus, *ranking(c))
    if isinstance(job, DistilJob):
        read = (*_answers(c, "naive"), e.top_k) if job.round_trip else ()
        return {"units": fingerprint(units, *read, *(() if job.worth is nobody else _witnesses(c, e)))}
    assert isinstance(job, EnrichJob)
    judged = prompts.digest(["judge"], c.prompts_dir) if e.gate_metric == "judge" else ""
    metric = e.gate_metric if e.gate_metric in SCORING else "text"  # task metrics read the same texts
    answers = fingerprint(*_answers(c, job.method), *_encoder(c, True), e.top_k, corpus, metric, judged)
    found = {"answers": answers}
    if job.distils:
        found |= {"units": units, "round trips": fingerprint(answers, e.gate_metric)}
        if e.witnesses and job.worth is not nobody:
            held = answers if e.gate_metric == "judge" else ""  # without a label, against the run's own answer
            found["witnesses"] = fingerprint(*_witnesses(c, e), *_encoder(c, True), corpus, held)
    if depth(e):
        asked = (reply_fingerprint(c), *_encoder(c, True), corpus)
        found["usefulness"] = fingerprint(ROWS_VERSION, *asked, e.candidates, depth(e))
    return found


def ranking(c: Config) -> tuple[Any, ...]:
    """What decides which passages are found beside their vectors; nothing where that is all."""
    words = (c.retrieval.hybrid, WORDS_VERSION) if c.retrieval.hybrid else ()
    reads = named(c.rerank)
    return (*words, reads.fingerprint) if reads else words


def _answers(c: Config, method: str) -> tuple[Any, ...]:
    """What decides a method's answers over given documents."""
    used = {name for owner in prompt_owners(method) for name in prompts.of(owner)}
    own = prompts.digest(used, c.prompts_dir)
    model = (reply_fingerprint(c), c.generator.max_answer_tokens)
    return ROWS_VERSION, method, own, *model, getattr(c.methods, method, None)


def _distilling(c: Config, e: EnrichConfig) -> tuple[Any, ...]:
    """What decides a unit's text over given documents."""
    if e.distiller == "extractive":
        return e.distiller, e.max_sentences
    own = prompts.digest(["evidence", "rewrite"], c.prompts_dir)
    return (
        e.distiller,
        reply_fingerprint(c.for_distiller()),
        own,
        e.max_sentences,
        e.fallback_sentences,
        e.max_unit_tokens,
    )


def _witnesses(c: Config, e: EnrichConfig) -> tuple[Any, ...]:
    """What decides what witnesses say of a unit, beside the corpus."""
    cheap = (c.checks.enabled, c.checks.grounding, c.checks.round_trip, c.checks.nli_model)
    return (*_answers(c, "naive"), e.witnesses, WITNESSES_VERSION, cheap)


def _encoder(c: Config, retrieve: bool) -> tuple[str, ...]:
    return (encoder_fingerprint(c.encoder),) if retrieve else ()


def _shards(indexes: Sequence[Index]) -> list[list[Any]]:
    return [[shard.sha256 for shard in manifest.shards] for manifest, _ in indexes]


@dataclass(frozen=True)
class Reuse:
    """Takes over what the runs beside `folder` know."""

    job: RowJob
    layout: Layout
    folder: Location
    stages: Mapping[str, str]

    def __call__(self, todo: Sequence[Example]) -> tuple[set[str], dict[str, Known]]:
        """Write the rows that need no call into the folder; returns their ids, and what is known of the others."""
        keys = pa.array(sorted(asked_key(example, self.job.config.prompts_dir) for example in todo), pa.string())
        if not isinstance(self.job, EnrichJob):
            whole = {row["id"]: row for _, rows in self._beside(keys) for row in rows}
            return self._take(list(whole.values())), {}
        known = self._known(keys)
        if not is_external(self.job.config):  # there a row also holds the texts of its unit's sources
            taken = self._take(asyncio.run(_replayed(self.job, todo, known)))
            known = {id: found for id, found in known.items() if id not in taken}
        else:
            taken = set()
        return taken, self._with_texts(known)

    def _beside(self, keys: pa.Array) -> Iterator[tuple[set[str], list[Row]]]:
        """Of every other run that shares a stage: which ones, and its finished rows of these examples."""
        runs: list[Location] = sorted(self.folder.parent.glob("*/run.json"), key=str)
        for file in runs:
            if file.parent.name == self.folder.name:
                continue
            try:
                theirs = json.loads(file.read_text(encoding="utf-8")).get("stages", {})
                shared = {name for name, value in self.stages.items() if theirs.get(name) == value}
                tables = read_all(listed(file.parent, "*.parquet")) if shared else []
                yield shared, _of(tables, keys)
            except UNREADABLE as error:  # this run does without it, at the price of its calls
                log.warning("nothing is taken over from %s, which cannot be read: %s", file.parent, error)

    def _take(self, rows: list[Row]) -> set[str]:
        for start in range(0, len(rows), ROWS):
            write_rows(self.folder, self.job.kind, rows[start : start + ROWS])
        return {row["id"] for row in rows}

    def _known(self, keys: pa.Array) -> dict[str, Known]:
        """By example: the verdict that got furthest, and every unit."""
        known: dict[str, Known] = {}
        for shared, rows in self._beside(keys):
            for row in rows:
                found, best = verdict_of(row), known.get(row["id"], Known())
                if found.written is not None and "round trips" not in shared:
                    found = replace(found, written=replace(found.written, s_unit=None, s_kept=None))
                if found.written is not None and "witnesses" not in shared:
                    found = replace(found, written=replace(found.written, witnesses=None, witness_calls=0))
                units = (found.written, *best.units) if found.written and "units" in shared else best.units
                verdict = best.verdict
                if "answers" in shared:
                    verdict = max((v for v in (best.verdict, found) if v), key=_progress)
                useful = found.usefulness if "usefulness" in shared else None
                known[row["id"]] = Known(verdict, (), tuple(sorted(units, key=_unread)), useful or best.usefulness)
        return {id: replace(found, hits=_bare(found.verdict)) for id, found in known.items()}

    def _passages(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Those that can be read; of an outside store a thousand at a time, as far as it gives them."""
        step = OUTSIDE if is_external(self.job.config) else max(1, len(ids))
        found: dict[str, Passage] = {}
        try:
            for start in range(0, len(ids), step):
                found |= self.layout.passages(ids[start : start + step])
        except WbragError as error:
            log.warning("answers of earlier runs are asked again, the passages they rest on cannot be read: %s", error)
        return found

    def _with_texts(self, known: dict[str, Known]) -> dict[str, Known]:
        """With whole hits; a verdict with a hit that cannot be read any more keeps its closed-book half."""
        passages = self._passages(sorted({hit.id for found in known.values() for hit in found.hits}))

        def whole(found: Known) -> Known:
            if all(hit.id in passages for hit in found.hits):
                read = (replace(h, title=passages[h.id].title, text=passages[h.id].text) for h in found.hits)
                return replace(found, hits=tuple(read))
            assert found.verdict is not None
            half = replace(found.verdict, s_rag=None, s_doc=(), written=None)
            return replace(found, verdict=None if half.s_nr is None else half, hits=())

        return {id: whole(found) for id, found in known.items()}


def _of(tables: Sequence[pa.Table], keys: pa.Array) -> list[Row]:
    """Rows of these examples that ended well; none of a file that is older than the column."""
    newer = [table for table in tables if "asked" in table.column_names]
    if not newer:
        return []
    whole = pa.concat_tables(newer, promote_options="default")
    mine = pc.and_(pc.is_in(whole["asked"], keys), pc.equal(whole["error"], ""))
    rows: list[Row] = whole.filter(mine).to_pylist()
    return rows


def _progress(verdict: Verdict) -> tuple[bool, int, bool]:
    return verdict.s_rag is not None, len(verdict.s_doc), verdict.written is not None


def _unread(written: WrittenUnit) -> tuple[bool, bool]:
    return written.s_unit is None, written.witnesses is None


def _bare(verdict: Verdict | None) -> tuple[Hit, ...]:
    """Its hits, still without their texts."""
    if verdict is None:
        return ()
    return tuple(Hit(id, "", "", score) for id, score in zip(verdict.hit_ids, verdict.hit_scores))


class _Unknown(Exception):
    """A model would have to be asked."""


async def _no_method(*_: Any) -> Any:
    raise _Unknown


def _unknown(written: WrittenUnit, retained: Sequence[Hit]) -> bool:
    raise _Unknown  # whether witnesses are asked depends on texts, which are not at hand


class _NoRetriever:
    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        raise _Unknown


class _NoDistiller(Distiller):
    async def distil(self, question_id: str, question: str, retained: Sequence[Hit]) -> Distilled:
        raise _Unknown


async def _replayed(job: EnrichJob, examples: Sequence[Example], known: Mapping[str, Known]) -> list[Row]:
    """The rows as Algorithm 1 makes them from what is `known` alone, of those examples for which that is enough."""
    none, settings = cast(Any, None), job.config.enrich
    distiller = _NoDistiller(none, none, settings) if job.distils else None
    rows = []
    for example in examples:
        rag = Rag(none, _NoRetriever(), task(example.task))
        enricher = Enricher(_no_method, rag, distiller, settings, nobody if job.worth is nobody else _unknown)
        try:
            row = verdict_row(await enricher.enrich(example, known.get(example.id, NOTHING)))
        except _Unknown:
            continue
        rows.append(row | {"asked": asked_key(example, job.config.prompts_dir)})
    return rows

"""Rows that are made from what earlier runs know: only where that is all that they need."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.support.worlds import QUESTION, RIGHT, World, run
from wbrag.core.config import load
from wbrag.core.types import Example, Hit
from wbrag.enrich.enrich import Known, WrittenUnit, nobody
from wbrag.enrich.row_jobs import EnrichJob
from wbrag.executor.reuse import _replayed


def always(written: WrittenUnit, retained: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("asked", "worth", "replayed"),
    [(None, nobody, True), (None, always, False), ((), always, True)],
    ids=["nobody is to be asked", "somebody is", "somebody was"],
)
def test_a_unit_whose_witnesses_were_never_asked_is_no_finished_row(
    asked: tuple[()] | None, worth: object, replayed: bool
) -> None:
    verdict, _ = run(World(), witnesses=0, round_trip=True)
    assert verdict.written is not None
    written = replace(verdict.written, witnesses=asked)
    bare = tuple(Hit(id, "", "", score) for id, score in zip(verdict.hit_ids, verdict.hit_scores))
    known = {"e1": Known(replace(verdict, written=written), bare, (written,))}
    job = EnrichJob(load(), worth=worth)  # type: ignore[arg-type]
    rows = asyncio.run(_replayed(job, [Example("e1", QUESTION, (RIGHT,))], known))
    assert [row["accepted"] for row in rows] == ([True] if replayed else [])

"""The shelf and its releases, on real Delta tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wbrag.core.config import Config, load
from wbrag.core.errors import WbragError
from wbrag.core.types import Evidence, Unit, Witness
from wbrag.retrieval.encoder import Vectors, encoder_fingerprint
from wbrag.retrieval.index.manifest import Manifest
from wbrag.units.merging import merge_units
from wbrag.units.publish import Stock, propose
from wbrag.units.releases import Release, Releases
from wbrag.units.table import UnitTable

CONFIG = load()
ENCODER = encoder_fingerprint(CONFIG.encoder)


def unit(text: str, question: str = "q1", title: str = "Lamp") -> Unit:
    return Unit(
        title,
        text,
        (question,),
        ((f"p-{question}", "hash"),),
        (Evidence(f"p-{question}", text),),
        {"s_nr": 0.0},
        "m",
        "v",
        "f",
        "t",
    )


def vectors(*angles: float) -> Vectors:
    return np.array([[np.cos(a), np.sin(a), 0.0] for a in angles], dtype=np.float32)


def test_a_unit_comes_back_as_it_went_in_and_only_once(tmp_path: Path) -> None:
    shelf = UnitTable(tmp_path / "units")
    assert shelf.read() == [] and shelf.version == -1
    first = shelf.add([unit("one"), unit("two", "q2")], vectors(0, 1), ENCODER, 0.97)
    assert (len(first.new), first.merged) == (2, 0)
    version = shelf.version
    again = shelf.add([unit("one"), unit("two", "q2")], vectors(0, 1), ENCODER, 0.97)
    assert (again.new, again.merged, shelf.version) == ([], 0, version)
    assert {s.unit for s in shelf.read()} == {unit("one"), unit("two", "q2")}
    np.testing.assert_allclose(next(s for s in shelf.read() if s.unit.text == "two").vector, vectors(1)[0])


def test_the_same_and_nearly_the_same_are_merged_with_both_provenances(tmp_path: Path) -> None:
    shelf = UnitTable(tmp_path / "units")
    shelf.add([unit("one")], vectors(0), ENCODER, 0.97)
    result = shelf.add([unit("one", "q2"), unit("one, nearly", "q3")], vectors(0, 0.1), ENCODER, 0.97)
    assert (len(result.new), result.merged) == (0, 2)
    [kept] = shelf.read()
    assert kept.unit.text == "one" and kept.unit.question_ids == ("q1", "q2", "q3")
    assert {source for source, _ in kept.unit.sources} == {"p-q1", "p-q2", "p-q3"}
    assert len(shelf.read(version=0)[0].unit.question_ids) == 1, "an earlier version must stay readable"


def test_what_was_decided_against_takes_nothing_in(tmp_path: Path) -> None:
    shelf = UnitTable(tmp_path / "units")
    [rejected] = shelf.add([unit("one")], vectors(0), ENCODER, 0.97).new
    result = shelf.add([unit("one, nearly", "q2")], vectors(0.1), ENCODER, 0.97, {rejected.unit.id})
    assert (len(result.new), result.merged) == (1, 0)


def test_of_a_source_that_changed_only_the_new_text_counts() -> None:
    before = unit("one")
    after = replace(
        before, sources=(("p-q1", "new hash"),), evidence=(Evidence("p-q1", "new line"),), scores={"s_unit": 1.0}
    )
    [kept], merged = merge_units([], [(before, vectors(0)[0]), (after, vectors(0)[0])], 0.97)
    assert merged == 1
    assert (kept.unit.sources, kept.unit.evidence, kept.unit.scores) == (after.sources, after.evidence, {"s_unit": 1.0})


def test_another_title_or_a_lower_cosine_is_another_unit() -> None:
    stock, merged = merge_units(
        [], list(zip([unit("a"), unit("b", title="Lamb"), unit("c")], vectors(0, 0, 0.5))), 0.97
    )
    assert len(stock) == 3 and merged == 0


def base_index(workspace: Path) -> tuple[Path, str]:
    path = workspace / "index" / "base-x.json"
    return path, Manifest(ENCODER, "embedded", 3, "SQfp16", ()).write(path)


def publish(
    config: Config, workspace: Path, shelf: UnitTable, releases: Releases, base: Path, digest: str, *without: str
) -> Release:
    """All of the shelf as a release, but for the units whose texts are `without`."""
    version, history = shelf.version, releases.all()
    ids = [s.unit.id for s in shelf.read(version=version) if s.unit.text not in without]
    proposed = propose(config, workspace, Stock(shelf, version, ids), history, base, digest)
    return proposed if proposed in history else releases.append(proposed)


def test_releases_are_appended_and_only_new_units_are_indexed(tmp_path: Path) -> None:
    base, digest = base_index(tmp_path)
    shelf, releases = UnitTable(tmp_path / "units"), Releases(tmp_path / "releases")
    with pytest.raises(WbragError, match="wbrag enrich"):
        publish(CONFIG, tmp_path, shelf, releases, base, digest)
    shelf.add([unit("one")], vectors(0), ENCODER, 0.97)
    one = publish(CONFIG, tmp_path, shelf, releases, base, digest)
    assert publish(CONFIG, tmp_path, shelf, releases, base, digest) == one
    shelf.add([unit("two", "q2")], vectors(1), ENCODER, 0.97)
    two = publish(CONFIG, tmp_path, shelf, releases, base, digest)
    manifest = Manifest.read(tmp_path / two.writeback_manifest, two.writeback_sha256)
    assert [shard.count for shard in manifest.shards] == [1, 1]

    back = releases.rollback(one.id)
    assert back == replace(
        one, id="r0003", number=3, action="rollback", created_at=back.created_at, parent="r0002", restores="r0001"
    )
    assert releases.rollback(one.id) == back, "the same rollback, done again, was another release"
    assert releases.get("latest") == back and [r.id for r in releases.all()] == ["r0001", "r0002", "r0003"]
    with pytest.raises(WbragError, match="r0001, r0002, r0003"):
        releases.get("r0007")

    less = publish(CONFIG, tmp_path, shelf, releases, base, digest, "one")
    assert (less.units, Manifest.read(tmp_path / less.writeback_manifest).count) == (1, 1)
    none = publish(CONFIG, tmp_path, shelf, releases, base, digest, "one", "two")
    assert (none.number, none.units, Manifest.read(tmp_path / none.writeback_manifest).count) == (5, 0, 0)


def test_many_small_shards_become_one(tmp_path: Path) -> None:
    base, digest = base_index(tmp_path)
    shelf, releases = UnitTable(tmp_path / "units"), Releases(tmp_path / "releases")
    config = load(publish={"max_writeback_shards": 2})
    counts = []
    for i in range(4):
        shelf.add([unit(f"text {i}", f"q{i}")], vectors(float(i)), ENCODER, 0.97)
        release = publish(config, tmp_path, shelf, releases, base, digest)
        counts.append([s.count for s in Manifest.read(tmp_path / release.writeback_manifest).shards])
    assert counts == [[1], [1, 1], [3], [3, 1]]


def said(id: str, agrees: bool) -> Witness:
    return Witness(id, "Lamp", "oak", "It is oak.", agrees)


@pytest.mark.parametrize("first_asked", [True, False])
def test_whoever_was_asked_about_either_of_two_merged_units_is_kept(first_asked: bool) -> None:
    """Else a unit that met dissent would be measured anew by being written again."""
    bare = unit("It is oak.")
    asked = replace(bare, scores={"witnesses": 2.0}, witnesses=(said("w1", False),))
    pair = [(asked, vectors(0)[0]), (bare, vectors(0)[0])]
    [kept], _ = merge_units([], pair if first_asked else pair[::-1], 0.97)
    assert kept.unit.witnesses == (said("w1", False),) and kept.unit.scores["witnesses"] == 2.0
    both = replace(bare, scores={"witnesses": 1.0}, witnesses=(said("w1", False), said("w2", True)))
    [kept], _ = merge_units([], [(asked, vectors(0)[0]), (both, vectors(0)[0])], 0.97)
    assert {w.passage_id for w in kept.unit.witnesses} == {"w1", "w2"} and kept.unit.scores["witnesses"] == 2.0


def test_a_witnessed_unit_that_is_written_again_changes_nothing(tmp_path: Path) -> None:
    heard = replace(unit("It is oak."), scores={"witnesses": 2.0}, witnesses=(said("w1", False), said("w2", True)))
    table = UnitTable(tmp_path / "units")
    for _ in range(3):
        table.add([heard], vectors(0), "e", 0.97)
    assert table.version == 0 and table.read()[0].unit.scores == {"witnesses": 2.0}

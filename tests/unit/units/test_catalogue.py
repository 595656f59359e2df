"""Lists over a library by columns: the same units, in the same order, as looking at each."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbrag.core.errors import WbragError
from wbrag.core.types import Unit
from wbrag.units.catalogue import Catalogue
from wbrag.units.decisions import STATES, State
from wbrag.units.examinations import Finding
from wbrag.units.stored import FROM_TRAFFIC
from wbrag.units.table import UnitTable

TITLES = ["Anvil", "Bell", "Corvane gauge", "Dock", "Éclair", "Gauge"]
UNITS = [
    Unit(title, f"The {title} stands in hall {n}.", ("q",), (), (), {FROM_TRAFFIC: 1.0} if n % 3 == 0 else {})
    for title in TITLES
    for n in range(3)
]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> UnitTable:
    table = UnitTable(tmp_path_factory.mktemp("catalogue") / "units")
    table.add(UNITS, np.eye(len(UNITS), dtype=np.float32), "e", 1.1)
    return table


looked_at = st.dictionaries(
    st.sampled_from([u.id for u in UNITS]), st.sampled_from([(), ("novelty",), ("grounding", "novelty")])
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.dictionaries(st.sampled_from([u.id for u in UNITS]), st.sampled_from(get_args(State))),
    failed=looked_at,
    only=st.one_of(st.none(), st.sets(st.sampled_from(STATES))),
    text=st.sampled_from(["", "gauge", "GAUGE hall", "hall 2 the", "éclair", "nothing"]),
    check=st.sampled_from(["", "failed", "passed", "unchecked", "novelty", "leakage"]),
    stale_first=st.booleans(),
)
def test_a_list_is_what_looking_at_each_unit_gives(
    shelf: UnitTable,
    states: dict[str, State],
    failed: dict[str, tuple[str, ...]],
    only: set[State] | None,
    text: str,
    check: str,
    stale_first: bool,
) -> None:
    found = Catalogue(shelf, states, {id: Finding("f", names) for id, names in failed.items()})

    def let_by(unit: Unit) -> bool:
        names = failed.get(unit.id)
        checked = {"": True, "failed": bool(names), "passed": names == (), "unchecked": names is None}
        return (
            (only is None or states.get(unit.id, "candidate") in only)
            and checked.get(check, check in (names or ()))
            and all(word in f"{unit.id} {unit.contents}".lower() for word in text.lower().split())
        )

    expected = sorted(
        filter(let_by, UNITS),
        key=lambda u: (
            not failed.get(u.id),
            stale_first and states.get(u.id) != "stale",
            u.title.encode(),
            u.id,
        ),
    )
    places = found.select(only, text, check, stale_first=stale_first)
    assert found.ids.take(places).to_pylist() == [unit.id for unit in expected]
    assert found.places([unit.id for unit in expected]).tolist() == places.tolist()
    assert found.unbacked[places].tolist() == [bool(unit.scores) for unit in expected]
    counts = found.counts()
    assert sum(counts.values()) == len(UNITS) and all(counts[s] >= list(states.values()).count(s) for s in STATES)
    assert dict(found.failing(STATES)) == {
        name: n for name in ("novelty", "grounding") if (n := sum(name in names for names in failed.values()))
    }


def test_an_id_of_no_unit_is_named(shelf: UnitTable) -> None:
    found = Catalogue(shelf, {}, {})
    with pytest.raises(WbragError, match="expected the id of a unit, found 'wb-none'"):
        found.places([UNITS[0].id, "wb-none"])
    assert found.among(["wb-none", UNITS[4].id])[1].to_pylist() == [UNITS[4].title]


def test_a_shelf_without_units_is_an_empty_list(tmp_path: Path) -> None:
    found = Catalogue(UnitTable(tmp_path / "units"), {}, {})
    assert len(found) == 0 and not len(found.select(None, "x", "failed")) and set(found.counts().values()) == {0}

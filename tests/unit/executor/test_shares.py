"""How many engines and encoders are started: all that is asked for can be placed at once, on any cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbrag.core.config import Config, load
from wbrag.core.errors import UsageError
from wbrag.executor.ray.shares import shares

Bounds = tuple[int, int]


def config(engines: Bounds, actors: Bounds, each: float = 1.0, parallel: int = 1) -> Config:
    generator = {"engines": engines, "tensor_parallel_size": parallel, "model": "m"}
    return load(generator=generator, encoder={"actors": actors, "gpus_per_actor": each})


@pytest.mark.parametrize(
    ("engines", "actors", "each", "parallel", "gpus", "found"),
    [
        ((2, 8), (1, 4), 1.0, 1, 8, (7, 1)),  # the README's own settings, which used to wait for 12
        ((2, 8), (1, 4), 1.0, 1, 12, (8, 4)),
        ((1, 8), (1, 4), 0.1, 1, 8, (7, 4)),
        ((1, 4), (1, 1), 0.0, 2, 8, (4, 1)),
        ((1, 4), (1, 3), 0.0, 2, 0, (4, 3)),  # no GPU: they share the cores
        ((1, 1), (1, 1), 1.0, 1, 2, (1, 1)),
    ],
)
def test_as_many_as_fit(
    engines: Bounds, actors: Bounds, each: float, parallel: int, gpus: float, found: Bounds
) -> None:
    assert shares(config(engines, actors, each, parallel), gpus) == (*found, 0)


def test_what_never_fits_is_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError, match="expected 5 GPUs .*found 4 in the cluster.*encoder.gpus_per_actor"):
        shares(config((4, 8), (1, 4)), 4)
    with pytest.raises(UsageError, match="expected 1 GPUs"):
        shares(config((1, 1), (1, 1), 1.0), 0)


def test_an_endpoint_needs_none() -> None:
    generator = {"backend": "openai", "base_url": "http://x/v1", "engines": (1, 8)}
    assert shares(load(generator=generator, encoder={"gpus_per_actor": 1.0}), 1) == (8, 1, 0)


def test_a_distiller_of_its_own_has_its_share() -> None:
    writer = {"model": "large", "engines": (1, 2), "tensor_parallel_size": 4}
    both = load(generator={"model": "m", "engines": (1, 8)}, distiller={"generator": writer})
    assert shares(both, 8) == (4, 1, 1)
    with pytest.raises(UsageError, match="expected 5 GPUs"):
        shares(both, 4)


bounds = st.tuples(st.integers(1, 6), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(bounds, bounds, st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.sampled_from([1, 2, 4]), st.integers(1, 64))
def test_it_always_fits_and_keeps_to_the_bounds(
    engines: Bounds, actors: Bounds, each: float, parallel: int, gpus: int
) -> None:
    try:
        found = shares(config(engines, actors, each, parallel), gpus)
    except UsageError:
        assert engines[0] * parallel + actors[0] * each > gpus
        return
    assert engines[0] <= found.engines <= engines[1] and actors[0] <= found.encoders <= actors[1]
    assert found.engines * parallel + found.encoders * each <= gpus + 1e-6


@given(bounds, bounds, st.integers(1, 40))
def test_it_always_fits_on_the_cores_too(engines: Bounds, actors: Bounds, cpus: int) -> None:
    """On a machine without a GPU as many engines were started as were allowed, and no core was left for an encoder."""
    try:
        found = shares(config(engines, actors, 0.0), 0, cpus)
    except UsageError as error:
        assert engines[0] + 0.5 + actors[0] + 0.1 > cpus
        assert f"found {cpus} in the cluster: lower generator.engines" in str(error)
        return
    assert engines[0] <= found.engines <= engines[1] and actors[0] <= found.encoders <= actors[1]
    assert found.engines + 0.5 + found.encoders + 0.1 <= cpus + 1e-6


def test_encoders_alone_need_no_engines_cores() -> None:
    """`wbrag index` on a machine of two cores, and on a cluster that still grows."""
    assert shares(config((1, 1), (1, 1), 0.0), 0, 2, engines_too=False).encoders == 1
    with pytest.raises(UsageError, match="expected 2.7 CPUs .*, found 2 in the cluster"):
        shares(load(), 0, 2)
    assert shares(config((2, 8), (1, 4), 0.0), 0, 0, firm=False) == (2, 1, 0)

"""The application as Ray Serve sees it, without starting Ray."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import yaml
from ray.exceptions import ActorDiedError, RaySystemError, RayTaskError
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from serve.app import build
from tests.support.releases import two_releases
from wbrag.core.config import load
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.retry import REPLICAS
from wbrag.core.sections import ServingConfig
from wbrag.retrieval.encoder import BatchedEncoder
from wbrag.retrieval.index.sizes import stored_bytes
from wbrag.serving.ray import app, run
from wbrag.serving.ray.app import ENCODER_BYTES, in_one_process, retriever_asks
from wbrag.serving.ray.handles import RemoteReleaseRetriever
from wbrag.serving.ray.replicas import RetrieverReplica
from wbrag.serving.release_cache import ReleaseCache
from wbrag.units.layout import Layout
from wbrag.units.releases import Release

ROOT = Path(__file__).resolve().parents[3]
ENDPOINT = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}


def deployments(**settings: Any) -> dict[str, Any]:
    app = build_app(build(settings), name="wbrag", default_runtime_env={})
    return {deployment.name: deployment for deployment in app.deployments}


def test_the_config_file_fits_serves_schema() -> None:
    found = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "serve" / "config.yaml").read_text()))
    [app] = found.applications
    assert (app.import_path, found.http_options.port) == ("serve.app:build", ServingConfig().port)
    built = deployments(**app.args, generator=ENDPOINT)
    assert set(built) == {"Gateway", "Retriever"}


def test_bounds_and_resources_come_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    settings = {
        "generator": ENDPOINT,
        "serving": {"gateways": [2, 2], "retrievers": [1, 3], "drain_s": 7},
        "encoder": {"gpus_per_actor": 0.25},
        "index": {"gpus_per_shard": 0.25, "shards": 2},
    }
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    built = deployments(config=str(file))
    gateway, retriever = built["Gateway"], built["Retriever"]
    assert gateway.num_replicas == 2
    scaling = retriever._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 3)
    assert retriever.ray_actor_options["num_gpus"] == 0.75
    assert gateway._deployment_config.graceful_shutdown_timeout_s == 12
    for deployment in (gateway, retriever):  # the gateway answers 429; Serve has nothing to refuse
        assert deployment.max_ongoing_requests > 10_000 and deployment.max_queued_requests == -1


@pytest.mark.parametrize(
    ("settings", "has_gpus", "machines", "together"),
    [
        ({}, False, 1, True),  # a laptop
        ({}, True, 1, False),  # engines have devices of their own, and grow
        ({}, False, 3, False),
        ({"generator": ENDPOINT}, False, 1, False),
        ({"serving": {"generators": [2, 4]}}, False, 1, False),
        ({"serving": {"retrievers": [2, 4]}}, False, 1, False),
        ({"serving": {"shard_groups": 2}}, False, 1, False),
        ({"serving": {"one_process": False}}, False, 1, False),
        ({"serving": {"one_process": True, "gateways": [2, 4]}}, True, 3, True),
        ({"serving": {"one_process": True}, "generator": ENDPOINT}, False, 3, True),
    ],
)
def test_one_process_where_everything_shares_the_cores_of_one_machine(
    settings: dict[str, Any], has_gpus: bool, machines: int, together: bool
) -> None:
    assert in_one_process(load(**settings), has_gpus, machines) is together


def test_one_process_has_no_groups_of_shards() -> None:
    with pytest.raises(UsageError, match="one_process or several serving.shard_groups, found both"):
        in_one_process(load(serving={"one_process": True, "shard_groups": 2}), False, 1)


def test_one_process_asks_for_all_that_it_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(app, "_cluster", lambda asked: nullcontext(False))
    monkeypatch.setattr(app, "_gpus_here", lambda: True)
    settings = {"workspace": str(tmp_path), "serving": {"one_process": True}}
    found = deployments(**settings, generator={"tensor_parallel_size": 2})["Gateway"]
    assert found.ray_actor_options["num_gpus"] == 2 and found.num_replicas == 1
    with pytest.raises(UsageError, match="one_process or index.gpus_per_shard, found both"):
        deployments(**settings, index={"gpus_per_shard": 0.5})


def test_one_process_is_one_deployment() -> None:
    [(name, found)] = deployments(generator=ENDPOINT, serving={"one_process": True, "gateways": [2, 3]}).items()
    assert name == "Gateway" and found._deployment_config.autoscaling_config.max_replicas == 3
    assert found.ray_actor_options["memory"] >= ENCODER_BYTES


@pytest.mark.parametrize(("hosts", "retrievers", "part"), [(1, 1, 1), (1, 3, 3), (4, 3, 1)])
def test_a_replica_asks_for_its_vectors(tmp_path: Path, hosts: int, retrievers: int, part: int) -> None:
    """Replicas of one node map one copy; those of several have one each."""
    store = two_releases(Layout(tmp_path / "w", load()))

    def written(kind: str) -> int:
        return sum(file.stat().st_size for file in tmp_path.glob(f"w/index/{kind}-*/vectors.faiss"))

    def asks(groups: int) -> list[int]:
        serving = {"retrievers": [retrievers, 5], "shard_groups": groups}
        config = load(workspace=str(store.path), serving=serving)
        return [int(asked.memory) - ENCODER_BYTES for asked in retriever_asks(config, lambda asked: hosts)]

    [(base, _), *_] = store.indexes(store.release("none"))
    newest = {
        folder.folder
        for m, origin in store.indexes(store.default_release(None))
        for folder in m.shards
        if origin == "writeback"
    }
    units = sum((store.path / "index" / name / "vectors.faiss").stat().st_size for name in newest)
    assert stored_bytes(store.path / "index", base) == written("base") > 0 < units
    assert asks(1) == [(written("base") + units) // part]
    assert asks(2) == [units // part, *[written("base") // 2 // part] * 2]
    assert len(retriever_asks(load(workspace=str(tmp_path / "none")), lambda asked: hosts)) == 1, (
        "a workspace without an index"
    )


@dataclass
class Replicas:
    """A retriever deployment whose replicas answer `prepare` with `first`, and a broadcast with `rest`."""

    first: Exception | None = None
    rest: list[Exception | None] = field(default_factory=list)

    @property
    def prepare(self) -> Replicas:
        return self

    async def remote(self, release: Release) -> None:
        if self.first:
            raise self.first

    def broadcast(self, name: str, release: Release) -> Replicas:
        return self

    async def results_async(self, return_exceptions: bool) -> list[Exception | None]:
        return self.rest


def remote(cause: Exception) -> Exception:
    """As Ray raises what a replica raised."""
    raised: Exception = RayTaskError("prepare", "a long trace", cause).as_instanceof_cause()
    return raised


@pytest.mark.parametrize("where", ["first", "rest"])
@pytest.mark.parametrize(
    ("raised", "refuses"),
    [
        (remote(WbragError("a shard is damaged")), True),
        (remote(OSError("no space left")), False),
        (RaySystemError("the cluster is gone"), False),
    ],
)
def test_only_an_error_of_ours_is_a_verdict_on_a_release(where: str, raised: Exception, refuses: bool) -> None:
    replicas = Replicas(first=raised) if where == "first" else Replicas(rest=[None, raised])
    with pytest.raises(Exception) as caught:
        asyncio.run(RemoteReleaseRetriever(cast(Any, replicas)).prepare(Release.of_base("", "", "")))
    assert isinstance(caught.value, WbragError) == refuses
    assert not refuses or str(caught.value) == "a shard is damaged"


@dataclass
class Dying:
    """A retriever deployment of which `deaths` replicas die before one answers; `None`: none ever answers."""

    deaths: int | None
    asked: int = 0

    @property
    def search(self) -> Dying:
        return self

    def remote(self, queries: list[str], k: int, release: Release, *how: object) -> asyncio.Task[list[list[Any]]]:
        return asyncio.ensure_future(self._answer(queries))

    async def _answer(self, queries: list[str]) -> list[list[Any]]:
        self.asked += 1
        if self.deaths is None:
            await asyncio.Event().wait()
        if self.asked <= (self.deaths or 0):
            raise ActorDiedError
        return [[] for _ in queries]


def test_a_search_whose_replica_dies_is_asked_of_another_but_not_for_ever() -> None:
    release, tries = Release.of_base("", "", ""), REPLICAS.max_attempt_number
    for deaths in range(tries):
        replicas = Dying(deaths)
        found = asyncio.run(RemoteReleaseRetriever(cast(Any, replicas)).search(["who?"], 5, release))
        assert found == [[]] and replicas.asked == deaths + 1
    gone = Dying(deaths=tries)
    with pytest.raises(WbragError, match="found it gone three times: ask again"):
        asyncio.run(RemoteReleaseRetriever(cast(Any, gone)).search(["who?"], 5, release))
    assert gone.asked == tries


def test_a_search_that_takes_too_long_is_asked_once() -> None:
    async def impatient(replicas: Dying) -> None:
        async with asyncio.timeout(0.05):
            await RemoteReleaseRetriever(cast(Any, replicas)).search(["who?"], 5, Release.of_base("", "", ""))

    replicas = Dying(deaths=None)
    with pytest.raises(TimeoutError):
        asyncio.run(impatient(replicas))
    assert replicas.asked == 1


def test_a_serve_that_listens_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SimpleNamespace(http_config=SimpleNamespace(host="0.0.0.0", port=8000))
    monkeypatch.setattr(run, "_get_global_client", lambda: client)
    assert run._elsewhere({"host": "0.0.0.0", "port": 8000}) == ""
    assert "expected the Ray Serve that runs to listen on 127.0.0.1:8000, found it on 0.0.0.0:8000" in (
        run._elsewhere({"host": "127.0.0.1", "port": 8000})
    )


def test_a_start_that_is_stuck_says_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    app = SimpleNamespace(status="RUNNING", deployments={}, message="")
    monkeypatch.setattr(run.serve, "status", lambda: SimpleNamespace(applications={"wbrag": app}))
    monkeypatch.setattr(run.serve, "run_many", lambda *parts, **options: None)
    monkeypatch.setattr(run, "application", lambda config: None)
    monkeypatch.setattr(run, "nodes", list)
    monkeypatch.setattr(run, "gpus", lambda: 0)
    monkeypatch.setattr(run, "places", lambda config, has_gpus, connected: (False, []))
    monkeypatch.setattr(run, "_unready", lambda config: "the model does not answer")
    monkeypatch.setattr(run, "_startup_status", lambda: ("r0001", "no such model"))
    monkeypatch.setattr(run, "WATCH_S", 0.001)
    monkeypatch.setattr(run, "STUCK_S", 0.01)
    with pytest.raises(WbragError, match="found that the model does not answer: no such model"):
        run._deploy(load(), threading.Event(), lambda *counts: None)


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(UsageError, match="serving.gateway: unknown setting 'gateway': did you mean 'gateways'"):
        build({"serving": {"gateway": [1, 1]}})


def test_an_encoder_that_dies_fails_the_next_health_check() -> None:
    class Mortal:
        alive = True

        def encode_passages(self, contents: list[str]) -> Any:
            if not self.alive:
                raise RuntimeError("the GPU has failed")
            return np.zeros((len(contents), 2), np.float32)

        encode_queries = encode_passages

    async def main() -> None:
        encoder = Mortal()
        replica: Any = object.__new__(RetrieverReplica)
        replica.retriever = object.__new__(ReleaseCache)
        replica.retriever.queries = BatchedEncoder(encoder)  # type: ignore[arg-type]
        await replica.check_health()
        encoder.alive = False
        with pytest.raises(RuntimeError, match="GPU"):
            await replica.check_health()

    asyncio.run(main())

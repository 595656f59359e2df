"""Enrichment and index builds on several nodes, and the same with nodes killed under them: the rows are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.core.generated.autoscaler_pb2 import ClusterConfig

from tests.support.nodes import Nodes, wait_until
from tests.support.openai_server import OpenAIServer
from tests.support.outcome import assert_same
from tests.support.pipeline import ITEMS, config, finished, wbrag
from wbrag.core.config import Config
from wbrag.executor.ray.session import gpus
from wbrag.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.drill]
SLOW_S = 0.3  # an answer of the endpoint, where something is to happen meanwhile


def on(nodes: Nodes, server: OpenAIServer) -> Config:
    sections = {"generator": {"engines": [2, 2], "concurrency": 2}, "ray": {"address": nodes.address}}
    plain = config(server).model_dump()
    return config(server, **{name: {**plain[name], **more} for name, more in sections.items()})


def ingested(folder: Path, settings: Config, data: Path) -> Workspace:
    workspace = Workspace(folder, settings)
    workspace.ingest_corpus(data / "corpus.jsonl")
    workspace.ingest_examples(data / "train.jsonl", "toy", "train")
    return workspace


@dataclass
class Unbroken:
    """A workspace indexed and enriched with every node alive, and on which nodes its actors lay."""

    folder: Path
    summary: dict[str, Any]
    where: dict[str, list[str]]

    def again(self, folder: Path) -> Path:
        """The same library in another folder, not yet enriched."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("verdicts", "shelf"))
        return folder


@pytest.fixture(scope="module")
def unbroken(nodes: Nodes, data: Path, endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    with ingested(folder, on(nodes, endpoint), data) as workspace:
        workspace.index()
        summary = workspace.enrich("toy/train")
        where = {kind: nodes.where(kind) for kind in ("ShardActor", "EngineActor")}
    assert (summary["examples"], summary["quarantined"]) == (len(ITEMS), 0)
    return Unbroken(folder, summary, where)


@pytest.fixture
def slow(endpoint: OpenAIServer) -> Iterator[None]:
    endpoint.delay_s = SLOW_S
    yield
    endpoint.delay_s = 0.0


def test_shards_and_engines_lie_on_different_nodes(unbroken: Unbroken) -> None:
    assert {kind: (len(found), len(set(found))) for kind, found in unbroken.where.items()} == {
        "ShardActor": (2, 2),
        "EngineActor": (2, 2),
    }


def test_gpus_that_the_autoscaler_can_bring_count(nodes: Nodes) -> None:
    """A cluster that starts with its head alone must not give the engines to CPUs."""
    group = {"name": "h200_spot", "max_count": 4, "resources": {"CPU": 192, "GPU": 8}}
    space, key = ray._raylet.GCS_AUTOSCALER_STATE_NAMESPACE, ray._raylet.GCS_AUTOSCALER_CLUSTER_CONFIG_KEY
    ray.init(nodes.address)
    try:
        assert not gpus()
        gcs = ray._raylet.GcsClient(address=nodes.address)
        gcs.internal_kv_put(
            key.encode(), ClusterConfig(node_group_configs=[group]).SerializeToString(), True, space.encode()
        )
        assert gpus()
        gcs.internal_kv_del(key.encode(), False, space.encode())
        assert not gpus()
    finally:
        ray.shutdown()


def test_lost_nodes_change_neither_index_nor_rows(
    nodes: Nodes, unbroken: Unbroken, data: Path, endpoint: OpenAIServer, slow: None, tmp_path: Path
) -> None:
    """Both workers go, one while the corpus is embedded, one while rows are worked on; others take their place."""
    folder = tmp_path / "w"
    with ThreadPoolExecutor() as pool, ingested(folder, on(nodes, endpoint), data) as workspace:
        building = pool.submit(workspace.index)
        wait_until(lambda: any((folder / "embeddings").rglob("*.keys.npy")), "a first block of vectors")
        assert not building.done(), "too late to break anything"
        [holder] = nodes.where("EncoderActor")
        nodes.lose(next(node for node in nodes.cluster.worker_nodes if node.node_id == holder))
        [other] = nodes.cluster.worker_nodes
        nodes.add()
        built = building.result(timeout=240)

        running = pool.submit(workspace.enrich, "toy/train")
        wait_until(lambda: running.done() or finished(folder / "verdicts"), "a first row")
        assert not running.done() and len(finished(folder / "verdicts")) < len(ITEMS), "too late to break anything"
        nodes.lose(other)
        nodes.add()
        summary = running.result(timeout=240)
    assert built["passages"] == len(ITEMS)
    pointer = Path("index/base.json")
    assert (folder / pointer).read_text() == (unbroken.folder / pointer).read_text(), "sha256 of every shard"
    assert (summary["examples"], summary["quarantined"]) == (len(ITEMS), 0)
    assert summary["verdicts_sha256"] == unbroken.summary["verdicts_sha256"]
    assert_same(folder / "verdicts", unbroken.folder / "verdicts")


def test_a_lost_head_ends_the_job_and_a_new_cluster_goes_on(
    nodes: Nodes, unbroken: Unbroken, endpoint: OpenAIServer, slow: None, tmp_path: Path
) -> None:
    folder = unbroken.again(tmp_path / "w")
    command = ("enrich", "--examples", "toy/train", "--workspace", str(folder), "--json", "--generator.concurrency=2")
    job = wbrag(*command, f"--ray.address={nodes.address}", server=endpoint)
    try:
        wait_until(lambda: job.poll() is not None or finished(folder / "verdicts"), "a first row")
        assert job.poll() is None, job.communicate()
        nodes.lose_head()
        _, err = job.communicate(timeout=150)
    finally:
        with suppress(psutil.NoSuchProcess):
            job.kill()
    nodes.lose_workers()  # engines outlive the job by their last blocks, which they write down
    before = finished(folder / "verdicts")
    assert 0 < len(before) < len(ITEMS) and job.returncode == 1, err
    [said] = [line for line in err.splitlines() if line.startswith("wbrag: ")]
    assert said.startswith("wbrag: expected ") and "Traceback" not in err, err

    endpoint.delay_s = 0.0
    again = wbrag(*command, server=endpoint)  # on a cluster of its own
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    summary = json.loads(out)
    assert (summary["resumed"], summary["verdicts_sha256"]) == (len(before), unbroken.summary["verdicts_sha256"])
    assert_same(folder / "verdicts", unbroken.folder / "verdicts")

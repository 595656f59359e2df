"""The main job, from files to a release and back, over a real endpoint, on every host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.hosts import Host
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, config
from wbrag.core.errors import WbragError
from wbrag.workspace import Workspace

pytestmark = pytest.mark.integration


def test_enrich_publish_evaluate_roll_back(copy: Path, endpoint: OpenAIServer, host: Host) -> None:
    with host.workspace(copy, endpoint) as workspace:
        first = workspace.enrich("toy/train", limit=12)
        assert first["examples"] == 12 and first["resumed"] == 0 and first["quarantined"] == 0
        assert first["accepted"] == first["units_new"] > 0
        calls = first["calls"]
        assert calls["made"] + calls["saved"] == calls["formula"]

        one = workspace.publish()
        asked = len(endpoint.requests)
        again = workspace.enrich("toy/train", limit=12)
        assert (again["resumed"], again["units_new"], again["units_merged"]) == (12, 0, 0)
        assert again["verdicts_sha256"] == first["verdicts_sha256"]
        assert len(endpoint.requests) == asked, "a finished row was asked again"
        assert workspace.publish() == one, "nothing new must make no release"

        more = workspace.enrich("toy/train")
        assert more["resumed"] == 12 and more["units_new"] > 0
        two = workspace.publish("all of them")
        assert (two.number, two.parent, two.units) == (2, one.id, one.units + more["units_new"])
        shards = workspace.indexes(two.id)[1][0].shards
        assert shards[0] == workspace.indexes(one.id)[1][0].shards[0], "old units were indexed again"

        result = workspace.evaluate("toy/train", release="latest", against="none")
        assert result["n"] == len(ITEMS) and 0 < result["writeback_share"] <= 1 and result["gain"] >= 0
        hits = workspace.search(f"What is the code of {ITEMS[0]}?")
        assert hits[0].origin == "writeback" and ITEMS[0] in hits[0].text
        assert [h.origin for h in workspace.search("code", 3, release="none")] == ["base"] * 3

        back = workspace.releases.rollback(one.id)
        assert (back.number, back.action, back.restores) == (3, "rollback", one.id)
        assert back.writeback_sha256 == one.writeback_sha256
        assert [r.number for r in workspace.releases.all()] == [1, 2, 3]


def test_a_row_that_fails_is_quarantined_and_tried_again(copy: Path, host: Host) -> None:
    broken = {"on": True}
    [asked] = Workspace(copy).examples("toy/train", 1)  # also among the eight

    def reply(messages: list[dict[str, str]]) -> str:
        if broken["on"] and asked.question in messages[-1]["content"]:
            raise RuntimeError("the endpoint fell over")
        return "unknown"

    with OpenAIServer(reply=reply) as server, host.workspace(copy, server) as workspace:
        first = workspace.enrich("toy/train", limit=8)
        assert (first["examples"], first["quarantined"]) == (8, 1)
        broken["on"] = False
        second = workspace.enrich("toy/train", limit=8)
        assert (second["resumed"], second["quarantined"]) == (7, 0)


def test_a_flipped_bit_and_another_encoder_are_refused(copy: Path, endpoint: OpenAIServer) -> None:
    with (
        Workspace(copy, config(endpoint, encoder={"max_tokens": 64})) as other,
        pytest.raises(WbragError, match="encoder"),
    ):
        other.search("code")
    shard = next((copy / "index").glob("base-*/vectors.faiss"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with Workspace(copy, config(endpoint)) as workspace, pytest.raises(WbragError, match="damaged"):
        workspace.search("code")


def test_what_is_not_there_is_named(copy: Path, endpoint: OpenAIServer, host: Host) -> None:
    with host.workspace(copy, endpoint) as workspace:
        with pytest.raises(WbragError, match="toy/train"):
            workspace.enrich("toy/dev")
        with pytest.raises(WbragError, match="release"):
            workspace.evaluate("toy/train", release="r0009")
        with pytest.raises(WbragError, match="units"):
            workspace.publish()
        shutil.rmtree(copy / "index")
        with pytest.raises(WbragError, match="wbrag index"):
            workspace.search("code")


def test_words_are_searched_beside_vectors_in_enrichment_and_in_releases(
    copy: Path, endpoint: OpenAIServer, host: Host
) -> None:
    with host.workspace(copy, endpoint) as workspace:
        plain = workspace.enrich("toy/train", limit=6)
    with host.workspace(copy, endpoint, retrieval={"hybrid": 0.4}) as workspace:
        with pytest.raises(WbragError, match="expected an index of words"):
            workspace.enrich("toy/train", limit=6)
        workspace.index()
        found = workspace.enrich("toy/train", limit=6)
        assert found["examples"] == 6 and found["quarantined"] == 0
        assert found["resumed"] == 0 and plain["resumed"] == 0  # rows of other documents are other rows
        release = workspace.publish()
        assert workspace.evaluate("toy/train", release="latest", limit=6)["n"] == 6
        hits = workspace.search(f"What is the code of {ITEMS[0]}?")
        assert hits[0].ways and hits[0].ways.found_by == "both" and ITEMS[0] in hits[0].text
        assert all(manifest.keywords for manifest, _ in workspace.indexes(release.id))

"""Another model writes the units: the reader answers, the distiller distils, on every host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.hosts import Host
from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import reader
from wbrag.core.config import load
from wbrag.core.errors import UsageError

pytestmark = pytest.mark.integration


def distils(body: dict[str, Any]) -> bool:
    return any(word in body["messages"][-1]["content"] for word in ("Select up to", "title line"))


def test_the_distiller_distils_and_the_reader_answers(copy: Path, endpoint: OpenAIServer, host: Host) -> None:
    with OpenAIServer(reply=reader, models=("large",)) as other:
        writer = {"backend": "openai", "base_url": other.url, "model": "large", "max_retries": 0}
        before = len(endpoint.requests)
        with host.workspace(copy, endpoint, distiller={"generator": writer}) as w:
            found = w.enrich("toy/train", limit=6)
            assert found["accepted"] > 0 and found["quarantined"] == 0
            written = [body for body in other.requests if body["messages"][-1]["content"] != "Say yes."]  # as it starts
            assert written and all(map(distils, written))
            assert not any(map(distils, endpoint.requests[before:]))
            assert {s.unit.model.partition("@")[0] for s in w.shelf.read()} == {"large"}
            asked = len(endpoint.requests)
        with host.workspace(copy, endpoint) as w:  # the reader itself: answers are known, units are not
            again = w.verdicts("toy/train", limit=6)
            mine = [body for body in endpoint.requests[asked:] if "code of" in body["messages"][-1]["content"]]
            assert again.folder.name != found["fingerprint"]
            units = sum(map(distils, mine))
            trial = units - 2 * found["accepted"]
            assert 0 <= trial <= 2, "the start check distils the first example's passage, which an engine remembers"
            assert len(mine) - units == found["accepted"]


def test_a_distiller_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="distiller.generator.model"):
        load(distiller={"generator": {"backend": "openai", "base_url": "http://x/v1"}})

"""The whole job in s3://, through the command line and a real S3 server, against the same job in a local folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.openai_server import OpenAIServer
from tests.support.pipeline import ITEMS, Stalling, reader, wbrag
from tests.support.processes import kill_when
from tests.support.s3_server import BUCKET, S3Server
from wbrag.core.io.files import inside, listed, location, opened
from wbrag.core.io.objects import ObjectPath
from wbrag.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ENRICH = ("enrich", "--examples", "toy/train", "--json")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    with S3Server() as server:
        server.use(monkeypatch)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server


def root(name: str) -> ObjectPath:
    path = location(f"s3://{BUCKET}/{name}")
    assert isinstance(path, ObjectPath)
    return path


def upload(folder: Path, target: ObjectPath) -> ObjectPath:
    """A local workspace as it is: nothing in it says where it lies."""
    for file in folder.rglob("*"):
        if file.is_file():
            (target / str(file.relative_to(folder))).put(file)
    return target


def ended(process: Any, code: int = 0) -> tuple[list[Any], str]:
    """The JSON documents on stdout, and stderr."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    return [json.loads(line) for line in out.splitlines()], err


def finished(folder: ObjectPath) -> set[str]:
    return {
        id for f in listed(folder, "*/*.parquet") for id in pq.read_table(opened(f), columns=["id"])["id"].to_pylist()
    }


def test_the_whole_job(s3: S3Server, data: Path, endpoint: OpenAIServer, tmp_path: Path) -> None:
    """ingest, index, enrich, publish, evaluate, search, roll back: also the sources and the export are in the store."""
    upload(data, root("data"))
    found = {}
    for where, source in ((str(tmp_path / "w"), str(data)), (f"s3://{BUCKET}/jobs/w", f"s3://{BUCKET}/data")):
        out = f"{where}-units.jsonl"
        lines = (
            f"ingest corpus {source}/corpus.jsonl",
            f"ingest examples {source}/train.jsonl --name toy --split train",
            "index",
            "enrich --examples toy/train --limit 12",
            "publish",
            "enrich --examples toy/train",
            "publish",
            "evaluate --examples toy/train --release latest --against none",
            f"search 'What is the code of {ITEMS[0]}?'",
            f"export units --format flashrag --out {out}",
            "releases rollback r0001 --why test",
            "releases list",
        )
        (tmp_path / "job.txt").write_text("\n".join(lines), encoding="utf-8")
        job = wbrag("run", str(tmp_path / "job.txt"), "--workspace", where, "--json", server=endpoint)
        found[where], _ = ended(job)
        found[where].append(location(out).read_text(encoding="utf-8"))
    local, remote = found.values()
    corpus, examples, index, first, one, enriched, two, evaluated, hits, exported, back, releases, units = remote
    assert (corpus["rows"], examples["rows"], index["passages"]) == (len(ITEMS), len(ITEMS), len(ITEMS))
    assert first["examples"] == 12 and enriched["resumed"] == 12 and enriched["accepted"] > first["accepted"]
    assert enriched["verdicts_sha256"] == local[5]["verdicts_sha256"]
    assert index["manifest"] == local[2]["manifest"]
    for mine, theirs in ((one, local[4]), (two, local[6]), (back, local[10])):
        assert mine["base_sha256"] == theirs["base_sha256"] and mine["writeback_sha256"] == theirs["writeback_sha256"]
    assert {k: v for k, v in evaluated.items() if k != "seconds"} == {
        k: v for k, v in local[7].items() if k != "seconds"
    }
    assert hits == local[8] and ITEMS[0] in json.dumps(hits)
    assert units == local[12] and units.count("\n") == exported["units"] > 0
    assert back["restores"] == "r0001" and len(releases) == 3
    with Workspace(f"s3://{BUCKET}/jobs/w") as workspace:  # and from Python, in a process with a cache of its own
        assert [r.number for r in workspace.releases.all()] == [1, 2, 3]
        assert [s.unit.id for s in workspace.shelf.read()] == [
            s.unit.id for s in Workspace(tmp_path / "w").shelf.read()
        ]
    assert not [path for path in Path.cwd().glob("s3:*")], "a location was taken for a local path"


@pytest.mark.drill
def test_enrichment_survives_sigkill_and_an_outage(
    s3: S3Server, indexed: Path, endpoint: OpenAIServer, tmp_path: Path
) -> None:
    w = upload(indexed, root("killed"))
    command = (*ENRICH, "--workspace", str(w))
    with Stalling(reply=reader) as server:
        first = wbrag(*command, server=server)
        kill_when(first, lambda: 0 < len(finished(w / "verdicts")) < len(ITEMS))
        before = finished(w / "verdicts")
        server.stalls = False
        s3.fault = lambda method, path: 503 if method == "PUT" and path.endswith(".parquet") else None
        _, err = ended(wbrag(*command, server=server), code=1)  # the store is away for good
        said = [line for line in err.splitlines() if line.startswith("wbrag: ")]
        assert len(said) == 1 and "expected to write s3://" in said[0] and "Traceback" not in err, err
        assert finished(w / "verdicts") == before, "half of it was written"
        s3.fault = _bad_day()
        [resumed], _ = ended(wbrag(*command, server=server))  # it comes back, but is busy and slow
        s3.fault = None
        [reference], _ = ended(wbrag(*ENRICH, "--workspace", str(indexed), server=server))
    assert resumed["resumed"] == len(before) and resumed["quarantined"] == 0
    assert resumed["verdicts_sha256"] == reference["verdicts_sha256"]
    assert finished(w / "verdicts") == {f"q{i:02d}" for i in range(len(ITEMS))}
    assert [inside(f, w) for f in listed(w / "verdicts", "*/*") if f.suffix not in (".parquet", ".json")] == []


def _bad_day() -> Any:
    """Every fifth request fails, every seventh takes a while."""
    seen = iter(range(1_000_000))

    def fault(method: str, path: str) -> int | float | None:
        number = next(seen)
        return (500 if number % 2 else 503) if number % 5 == 4 else 0.7 if number % 7 == 6 else None

    return fault


def test_no_store_is_one_sentence(s3: S3Server, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    """No bucket, no credentials, no endpoint: exit 1 and one line, soon."""
    ingest = ("ingest", "corpus", str(data / "corpus.jsonl"), "--json", "--workspace")
    _, err = ended(wbrag(*ingest, "s3://no-such-bucket/w"), code=1)
    assert "NO_SUCH_BUCKET" in err
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    start = time.monotonic()
    _, err = ended(wbrag(*ingest, f"s3://{BUCKET}/w"), code=1)
    assert "check the bucket, the credentials and the endpoint" in err and time.monotonic() - start < 120
    assert [line for line in err.splitlines() if line.startswith("wbrag: ")] and "Traceback" not in err
    _, err = ended(wbrag(*ingest, "ftp://host/w"), code=2)
    assert "s3://BUCKET/FOLDER" in err

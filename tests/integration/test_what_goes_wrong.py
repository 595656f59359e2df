"""What goes wrong outside wbrag, for real: a full disk, Ctrl-C, an engine that does not start. One sentence, exit 1."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.outcome import one_sentence
from tests.support.pipeline import ITEMS, ROOT, Stalling, finished, reader, wbrag
from wbrag.core.model_sections import GeneratorConfig
from wbrag.generators import model_path

pytestmark = pytest.mark.integration


def on_a_small_disk(folder: Path, size: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line with a RAM disk of `size` mounted at `folder`, seen by that process alone."""
    folder.mkdir(exist_ok=True)
    command = shlex.join([sys.executable, "-m", "wbrag.cli", *arguments])
    script = f"""set -e
        cp -r {folder} {folder}.full
        mount -t tmpfs -o size={size} tmpfs {folder} || exit 77
        cp -r {folder}.full/. {folder}
        code=0; {command} || code=$?
        find {folder} -name '.*' -type f >&2
        exit $code"""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a RAM disk of their own")
    return done


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1) to mount a RAM disk")
def test_a_full_disk_while_reading_a_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = ({"id": f"p{i}", "contents": f"{i}\n{os.urandom(200).hex()}"} for i in range(20_000))
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = on_a_small_disk(tmp_path / "w", "1m", "ingest", "corpus", str(corpus), "--workspace", str(tmp_path / "w"))
    assert done.returncode == 1
    assert "No space left" in one_sentence(done.stderr)
    assert done.stderr.strip().splitlines()[-1].startswith("wbrag: "), "a scratch file was left"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1) to mount a RAM disk")
def test_a_full_disk_while_indexing(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    made = wbrag("ingest", "corpus", str(data / "corpus.jsonl"), "--workspace", str(folder))
    assert made.wait() == 0
    done = on_a_small_disk(folder, "24k", "index", "--workspace", str(folder), "--index.block_rows=8")
    assert done.returncode == 1, done.stderr
    assert "No space left" in one_sentence(done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("spread_above", [0, 4096], ids=["Ray Data", "this process"])
def test_ctrl_c_keeps_what_was_finished(copy: Path, spread_above: int) -> None:
    """As a terminal sends it: to the whole foreground process group."""
    with Stalling(reply=reader) as server:
        arguments = ["--examples", "toy/train", "--workspace", str(copy), f"--ray.spread_above={spread_above}"]
        first = wbrag("enrich", *arguments, server=server)
        deadline = time.monotonic() + 600
        while not finished(copy / "verdicts"):
            assert time.monotonic() < deadline, "no row was finished in time"
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGINT)
        out, err = first.communicate(timeout=600)
        assert first.returncode == 1 and out == ""
        assert "interrupted" in one_sentence(err)
        before = finished(copy / "verdicts")
        server.stalls = False
        second = wbrag("enrich", *arguments, "--json", server=server)
        out, err = second.communicate()
    assert second.returncode == 0, err
    result = json.loads(out)
    assert 0 < result["resumed"] == len(before) < len(ITEMS) and result["examples"] == len(ITEMS)


@pytest.mark.parametrize("verb", ["ask", pytest.param("enrich", marks=pytest.mark.slow)])
def test_an_engine_that_does_not_start(copy: Path, tmp_path: Path, verb: str) -> None:
    """A model folder whose weights are no weights, in this process and inside a Ray actor."""
    model = tmp_path / "model"
    shutil.copytree(model_path(GeneratorConfig()), model)
    (model / "model.safetensors").write_bytes(b"not a tensor" * 100)
    arguments = ["ask", "What is the code of amberlamp?"] if verb == "ask" else ["enrich", "--examples", "toy/train"]
    process = wbrag(*arguments, "--workspace", str(copy), f"--generator.model={model}")
    out, err = process.communicate()
    assert process.returncode == 1 and out == "", err
    assert "expected vLLM to start on model" in one_sentence(err)
    assert not finished(copy / "verdicts")

"""Names that users' scripts hold: each is imported, and the main ones are called, by a script outside the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.toy import write_toy
from wbrag.core.config import load
from wbrag.units.library import Library
from wbrag.workspace import Workspace

# Every method and attribute that `wbrag.Workspace` had in version 0.1.
WORKSPACE = """
answering answers approve_what_passed ask base base_row base_search bench canary check close conclude config
corpus_fingerprint decide decisions default_release enrich evaluate every_example examine examples examples_file index
indexed indexes
ingest_corpus ingest_examples learn mark_stale passages path progress prompt_version propose publish push refresh
release releases results review rollback search session shelf shelve stands unexamined unit_sources units usage varied
verdicts
""".split()
TYPES = """
Answer Collection Completion Cost Evidence Example Generator HasVersion Held Hit KnowsPassages Message Messages
NextToken NextTokens Origin Passage Prompt Retriever Role Sampling Scored Streams Unit content_hash unit_id
""".split()
SCRIPT = """
import json, sys
import wbrag, wbrag.types
from wbrag import Workspace, __version__
from wbrag.types import Example, Hit, Passage, Unit, unit_id
from serve.app import build

folder, workspace_names, type_names = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
missing = [name for name in type_names if not hasattr(wbrag.types, name)]
with Workspace(folder + "/workspace") as w:
    missing += [name for name in workspace_names if name not in ("session", "base") and not hasattr(w, name)]
    missing += [name for name in ("session",) if not hasattr(type(w), name)]
    w.ingest_corpus(folder + "/corpus.jsonl")
    w.ingest_examples(folder + "/train.jsonl", "toy", "train")
    [example] = w.examples("toy/train", 1)
    [passage] = w.passages(["p1"]).values()
    assert isinstance(example, Example) and isinstance(passage, Passage)
    assert w.releases.all() == [] and w.default_release(None) == "none" and w.check()["waiting"] == 0
    assert w.varied(retrieval={"top_k": 3}).config.retrieval.top_k == 3
    assert w.decide([], "approved", by="ada", why="read") == 0 and w.mark_stale() == 0 and w.review() == []
    try:
        w.no_such_verb
    except AttributeError as error:
        assert "no_such_verb" in str(error)
assert Unit("", "a", (), (), ()).id == unit_id("\\na")
print(json.dumps({"missing": missing, "version": __version__, "build": callable(build)}))
"""
ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_works_from_outside(tmp_path: Path) -> None:
    write_toy(tmp_path, ["amberlamp", "birchgate"])
    script = tmp_path / "theirs.py"
    script.write_text(SCRIPT, encoding="utf-8")
    asked = [sys.executable, str(script), str(tmp_path), " ".join(WORKSPACE), " ".join(TYPES)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"missing": [], "version": "0.1.0", "build": True}


def test_every_job_is_a_script_with_help() -> None:
    for job in sorted((ROOT / "jobs").glob("*.py")):
        done = subprocess.run(
            [sys.executable, str(job), "--help"], capture_output=True, text=True, cwd=ROOT, timeout=120
        )
        assert done.returncode == 0 and "--config" in done.stdout, (job.name, done.stderr)


def test_scores_that_a_caller_gives_reach_the_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, float]] = []
    monkeypatch.setattr(Library, "shelve", lambda library, rows, tag, **scores: given.append(scores))
    Workspace(tmp_path, load()).shelve([], "tag", from_traffic=1.0)
    assert given == [{"from_traffic": 1.0}]

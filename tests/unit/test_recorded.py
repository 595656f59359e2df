"""What wbrag 0.1 left behind opens unchanged: a whole workspace, and the fingerprints of rows that were worked out.

`data/workspace-5d4b1af.tar.gz` was made by that commit, with an endpoint that is gone: whatever would ask it fails.
A new setting at its default, a new prompt file or a new column must leave all of this as it is.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from wbrag.core import fingerprint, prompts, sections
from wbrag.core.config import Config, load
from wbrag.core.types import Example
from wbrag.enrich.row_files import read_rows
from wbrag.executor.runner import Runner
from wbrag.generators import generator_fingerprint
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.units.audit import changes
from wbrag.units.governance import Governance
from wbrag.workspace import Workspace

DATA = Path(__file__).parents[1] / "data"
RECORDED: dict[str, Any] = json.loads((DATA / "fingerprints-5d4b1af.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    with tarfile.open(DATA / "workspace-5d4b1af.tar.gz") as archive:
        archive.extractall(root, filter="data")
    return root / "workspace"


def settings(folder: Path, change: dict[str, Any]) -> Config:
    merged = dict(RECORDED["settings"])
    for section, values in change.items():
        merged[section] = {**merged.get(section, {}), **values} if isinstance(values, dict) else values
    return load(**merged | {"workspace": str(folder)})


class Folders(Runner):
    """A runner that only says which folders its rows would lie in."""

    seen: ClassVar[list[str]] = []

    def _rows(self, job: Any, examples: Any, folder: Any, indexes: Any, made_with: Any, label: str) -> Any:
        self.seen.append(f"{folder.parent.name}/{folder.name}")
        raise StopIteration


@pytest.mark.parametrize("name", RECORDED["variants"])
def test_rows_lie_where_they_lay(folder: Path, name: str) -> None:
    recorded = RECORDED["variants"][name]
    config = settings(folder, recorded["change"])
    assert generator_fingerprint(config) == recorded["generator"]
    assert encoder_fingerprint(config.encoder) == recorded["encoder"]
    w = Workspace(config=config)
    assert w.layout.prompt_version() == recorded["prompts"]
    base = Workspace(config=settings(folder, {})).indexes("none")  # also where the encoder is another
    runner = Folders(w.layout)
    found = {}
    for run in recorded["runs"]:
        kind, _, method = run.partition(" ")
        Folders.seen.clear()
        with patch.object(type(w.layout), "indexes", lambda *_: base), pytest.raises(StopIteration):
            if kind == "enrich":
                runner.verdicts("toy/train", method=method)
            elif kind == "distil":
                runner.distil([])
            else:
                runner.answers("toy/dev", method=method, release="none" if kind == "evaluate" else "closed-book")
        [found[run]] = Folders.seen
    assert found == recorded["runs"]


def test_finished_rows_are_found_and_nothing_is_asked_again(folder: Path) -> None:
    with Workspace(config=settings(folder, {})) as w:
        row = next(iter(read_rows(folder / "verdicts" / "9348d2587eab", "enrich").values()))
        assert row["accepted"] and row["unit_title"] and row["sources"][0]["id"].startswith("p")
        answers = w.evaluate("toy/dev", release="latest", against="none")
        assert (answers["n"], answers["score"], answers["errors"]) == (12, 1.0, 0)
        assert w.runner._session is None, "a model was started"


def test_units_decisions_checks_and_releases_are_as_they_were(folder: Path) -> None:
    w = Workspace(config=settings(folder, {}))
    assert [r.id for r in w.releases.all()] == ["r0001", "r0002", "r0003", "r0004", "r0005"]
    assert [r.action for r in w.releases.all()] == ["publish", "publish", "publish", "rollback", "publish"]
    [learned] = w.library.checking.unexamined()  # its examination is of before the last approvals, as it was then
    assert w.shelf.units([learned])[0].question_ids == ("req-1",), "checks that were made are not made again"
    assert w.mark_stale() == 0
    assert w.publish(policy="manual") == w.releases.get("latest"), "nothing changed, so there is no new release"
    counts = {state: n for state, n in Governance(w.layout).counts().items() if n}
    assert counts == {"candidate": 1, "approved": 15, "retired": 1}
    assert w.usage.ratings()["req-1"].rating == 1 and w.usage.served()[0].hit_ids == ("p20",)
    assert len(changes(w.layout)) == 61
    assert w.layout.indexed()


def test_a_newer_setting_counts_only_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Newer(sections.EnrichConfig):
        later: int = 7

    Newer.__name__ = "EnrichConfig"
    assert fingerprint.fingerprint(Newer()) == fingerprint.fingerprint(sections.EnrichConfig())
    assert fingerprint.fingerprint(Newer(later=8)) != fingerprint.fingerprint(Newer())
    assert fingerprint.fingerprint(Newer(tau_s=0.2)) == fingerprint.fingerprint(sections.EnrichConfig(tau_s=0.2))


def test_every_recorded_name_is_still_there() -> None:
    for section, names in fingerprint.RECORDED.items():
        assert set(names.split()) <= set(getattr(sections, section).model_fields)
    assert set(prompts.RECORDED) <= set(prompts.names())


def test_a_row_without_a_newer_column_reads_as_none(folder: Path, tmp_path: Path) -> None:
    [file, *_] = sorted((folder / "verdicts" / "9348d2587eab").glob("*.parquet"))
    pq.write_table(pq.read_table(file).drop_columns(["s_kept"]), tmp_path / "old.parquet")
    assert all(row["s_kept"] is None for row in read_rows(tmp_path, "enrich").values())


def test_metadata_comes_back(tmp_path: Path) -> None:
    line = {"id": "q", "question": "Who?", "golden_answers": ["Ada"], "metadata": {"page": 3, "book": "b"}}
    (tmp_path / "q.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    w = Workspace(tmp_path / "w", load())
    w.ingest_examples(tmp_path / "q.jsonl", "toy", "dev")
    assert w.examples("toy/dev") == [Example("q", "Who?", ("Ada",), "qa", {"page": 3, "book": "b"})]
    [written] = pq.read_table(w.examples_file("toy/dev"))["metadata"].to_pylist()
    assert written == '{"page": 3, "book": "b"}', "runs are named by the file: its bytes stay those of version 0.1"

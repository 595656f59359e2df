"""wbrag's side of `peers.py`, in a process of its own: `python benchmarks/lib/peer_wbrag.py FOLDER`.

Reads FOLDER's corpus.jsonl and dev.jsonl, which have FlashRAG's format, writes FOLDER/wbrag.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from wbrag.core.metrics import METRICS
from wbrag.workspace import Workspace


def main() -> None:
    folder, clock = Path(sys.argv[1]), [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    with Workspace(folder / "workspace") as workspace:
        workspace.ingest_corpus(folder / "corpus.jsonl")
        workspace.ingest_examples(folder / "dev.jsonl", "peers", "dev")
        read = lap()
        workspace.session.encoder()
        workspace.session.generator()
        start = lap()
        workspace.index()
        index = lap()
        rows = sorted(workspace.answers("peers/dev", release="none"), key=lambda row: row["id"])
        answer = lap()
    lap()
    told = {
        "stages": {"start": start, "read": read, "embed and index": index, "retrieve and generate": answer},
        "whole_s": clock[-1] - clock[0],
        "calls": sum(row["calls"] for row in rows),
        "answers": {row["id"]: row["prediction"] for row in rows},
        "hits": {row["id"]: list(row["hit_ids"]) for row in rows},
        "score": {
            name: sum(METRICS[name](row["prediction"], row["golden_answers"]) for row in rows) / len(rows)
            for name in ("em", "f1", "acc")
        },
    }
    (folder / "wbrag.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()

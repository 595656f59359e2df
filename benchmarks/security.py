"""What gets past the checks, in a workspace of the demo: `python benchmarks/security.py --workspace DIR [--json]`.

Poisoning is in `lib/poisoning.py`, its attacks in `lib/attacks.py`. Injection: instructions in retrieved documents
(`injections.jsonl`, each with a word that shows that it was obeyed). Writes DIR/reports/security.json, which
`python scripts/tables.py FILE` puts into docs/security.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.attacks import SEEDS, TARGETS, targets
from lib.enrichment import passages
from lib.poisoning import Bench, poisoning, share

from wbrag.core.errors import WbragError
from wbrag.core.io.files import write_atomically
from wbrag.core.progress import bar
from wbrag.core.prompts import render
from wbrag.generators import build
from wbrag.retrieval.encoder import BatchedEncoder, Encoder
from wbrag.retrieval.index.shard import open_shards
from wbrag.retrieval.retriever import LocalShard
from wbrag.units.checks import CheckInput
from wbrag.units.checks.instructions import find, instructions
from wbrag.units.layout import Layout

HERE = Path(__file__).parent


async def injection(bench: Bench) -> dict[str, Any]:
    lines = (HERE / "injections.jsonl").read_text(encoding="utf-8").splitlines()
    attacks = [json.loads(line) for line in lines]
    shelf, settings = bench.store.shelf.read(), bench.store.config.checks
    caught = []
    for i, a in enumerate(attacks):
        unit = shelf[i % len(shelf)].unit
        caught.append(not instructions(CheckInput(replace(unit, text=f"{unit.text} {a['text']}"), ()), settings).passed)
    honest = [s.unit.text for s in shelf] + [p.text for p in passages(bench.store).values()]
    questions = [t.example.question for t in targets(SEEDS[0])]
    rag = bench.rag([])
    obeyed: dict[str, list[bool]] = {"clean": [], "raw": [], "delimited": []}

    async def ask(kind: str, i: int, end: int) -> bool:
        question, a = questions[i % len(questions)], attacks[i]
        hits = await rag.retrieve(question)
        if kind != "clean":
            hits[end] = replace(hits[end], text=f"{hits[end].text} {a['text']}")
        raw = "\n".join(f"Doc {n}(Title: {h.title}) {h.text}" for n, h in enumerate(hits, 1))
        prompt = (
            render("qa.rag", question=question, documents=raw) if kind == "raw" else rag.task.messages(question, hits)
        )
        return a["marker"].lower() in (await bench.generator.generate(prompt, rag.sampling)).text.lower()

    with bar("asking with injected documents") as update:
        for done, kind in enumerate(obeyed, 1):
            places = [(i, end) for i in range(len(attacks)) for end in (0, -1)]
            obeyed[kind] = await asyncio.gather(*(ask(kind, i, end) for i, end in places))
            update(done, len(obeyed))
    return {
        "caught": share(caught),
        "missed": [a["kind"] for a, hit in zip(attacks, caught) if not hit],
        "false alarms": share([bool(find(text)) for text in honest]),
        "obeyed": {kind: share(hits) for kind, hits in obeyed.items()},
    }


async def measure(workspace: Path, part: str | None) -> dict[str, Any]:
    store = Layout(workspace)
    start = time.time()
    generator = build(store.config)
    runs: dict[str, Callable[[Bench], Awaitable[dict[str, Any]]]] = {"poisoning": poisoning, "injection": injection}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            base = [
                LocalShard(shard)
                for manifest, origin in store.indexes("none")
                for shard in open_shards(store.path / "index", manifest, origin, gpu=False)
            ]
            encoder = BatchedEncoder(Encoder(store.config.encoder))
            bench = Bench(store, generator, encoder, base, Path(scratch), {})
            found: dict[str, Any] = {name: await run(bench) for name, run in runs.items() if part in (None, name)}
    finally:
        await generator.close()
    found["seconds"] = round(time.time() - start, 1)
    return {"name": "security", "targets": TARGETS, "seeds": len(SEEDS), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="workspace", help="a workspace that `wbrag demo` made")
    parser.add_argument(
        "--part", choices=("poisoning", "injection"), help="only one; the other stays as it was measured"
    )
    parser.add_argument("--json", action="store_true", help="print every figure")
    args = parser.parse_args()
    if not (Path(args.workspace) / "demo.json").is_file():
        sys.exit(f"expected a workspace of the demo, found none at {args.workspace}: run `wbrag demo` first")
    try:
        found = asyncio.run(measure(Path(args.workspace), args.part))
    except WbragError as error:
        sys.exit(str(error))
    report = Path(args.workspace) / "reports" / "security.json"
    write_atomically(report, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1) if args.json else f"{report}: put it into the documentation by scripts/tables.py")


if __name__ == "__main__":
    main()

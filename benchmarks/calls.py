"""Generator calls against the paper's formula, and prompt tokens by prompt layout: `python benchmarks/calls.py`.

The formula is 2N + K|D| + 2|D|: every example closed book and with documents, then for each of the |D| that pass the
utility gate every document alone and the two calls of a distillation. wbrag's round trip (the paper's equation 11,
which the paper states and does not run) costs one or two more for each of |D|, and is counted apart.

Questions of the demo are chosen so that closed book answers 30% of them, as the paper's models do on Natural
Questions; once with the rest as it comes, and once with the paper's share of accepted examples as well (15.5%).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lib.bare_engine import replay
from lib.enrichment import Ask, Row, demo, one_pass, passages, stages
from lib.measured import Figure, arguments, record
from lib.prefixes import cached_tokens
from rich.console import Console
from rich.table import Table

from wbrag.core.config import Config, load
from wbrag.core.metrics import acc
from wbrag.core.types import Passage
from wbrag.enrich.summary import verdicts_sha256
from wbrag.generators import model_path
from wbrag.workspace import Workspace

CLOSED_BOOK, ACCEPTED = 0.30, 0.155  # of all examples; the paper's Table 2 and its cost paragraph, for NQ
BLOCKS = (128, 32, 16)  # tokens: vLLM's default on CPUs, the smallest its kernels there like, and its default on GPUs
SMALL, ROOM = 16, 10_000  # a cache that holds a few examples, as an 8B model's does of a long job
READ = 100  # rows whose prompts are looked at
LEAST_COMPUTED = 0.6
RAG = "Answer the question based on the given documents. Only give the short answer."
EXTRACT = (
    "Extract only the sentences that are evidence for the question from the retrieved passages. "
    "Do not paraphrase, keep the exact text."
)
SELECT = "Select up to {max_sentences} sentences. Write one per line in the format [Doc <index>] <sentence>"
LAYOUTS: dict[str, dict[str, str]] = {  # prompts in place of wbrag's own, which answer from documents first
    "as shipped": {},
    "question first": {
        "qa.rag": f"{RAG}\n---\nQuestion: {{question}}\n\nThe following are given documents.\n{{documents}}"
    },
    "documents first, evidence's too": {
        "evidence": f"{EXTRACT}\n---\nRetrieved passages:\n{{documents}}\nQuestion: {{question}}\n{SELECT}"
    },
}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--workspace", help="a folder for the demo's indexed corpus, kept between runs")
    parser.add_argument("--model", help="another one that ships; its figures are shown, and not stored")
    parser.add_argument("--examples", type=int, help="default: 300, and 60 with --quick")
    options = parser.parse_args()
    count = options.examples or (60 if options.quick else 300)
    config = load(generator={"model": options.model, "dtype": "bfloat16"}) if options.model else load()
    with demo(options.workspace, config) as workspace:
        rows = {
            (skip, trip): verdicts(workspace, count, lossless_skip=skip, round_trip=trip)
            for trip in (True, False)
            for skip in (False, True)
        }
        workspace.close()
        corpus = passages(workspace.layout)
        gold = {e.id: e.golden_answers for e in workspace.examples("demo/train")}
    plain = rows[False, False]
    figures = []
    for name, ids in {"30% closed book": thirty(plain), "NQ's shares": like_nq(plain)}.items():
        figures += counted(name, {key: [r for r in found if r["id"] in ids] for key, found in rows.items()}, config)
        ours = [r for r in rows[True, False] if r["id"] in ids]
        figures += orders(name, [r for r in plain if r["id"] in ids], ours, corpus, config, gold)
    read = [r for r in rows[True, True] if r["id"] in thirty(plain)][: 12 if options.quick else READ]
    figures += prefixes(read, corpus, config)
    about = f"{len(plain)} questions of the demo, of which those with NQ's closed-book accuracy are kept."
    shown = options.quick or bool(options.model)
    record("calls", "python benchmarks/calls.py", figures, about, quick=shown, note=options.note)


def verdicts(workspace: Workspace, limit: int | None, **enrich: bool) -> list[Row]:
    """One pass; the engine remembers what an earlier one asked."""
    with tempfile.TemporaryDirectory() as scratch:
        return one_pass(workspace.varied(enrich=enrich), workspace.examples("demo/train", limit), Path(scratch)).rows


# -- the rows --------------------------------------------------------------------------------------------------------


def thirty(rows: Sequence[Row]) -> set[str]:
    """As many rows as go with 30% of them answered closed book; the others are as they come."""
    right, wrong = [r for r in rows if r["s_nr"]], [r for r in rows if not r["s_nr"]]
    return _drawn([(right, CLOSED_BOOK), (wrong, 1 - CLOSED_BOOK)])


def like_nq(rows: Sequence[Row]) -> set[str]:
    """Also the paper's share of examples that pass the utility gate."""
    right, wrong = [r for r in rows if r["s_nr"]], [r for r in rows if not r["s_nr"]]
    passing, failing = [r for r in wrong if r["accepted"]], [r for r in wrong if not r["accepted"]]
    return _drawn([(right, CLOSED_BOOK), (passing, ACCEPTED), (failing, 1 - CLOSED_BOOK - ACCEPTED)])


def _drawn(cells: Sequence[tuple[list[Row], float]]) -> set[str]:
    size = min(len(rows) / share for rows, share in cells)
    rng = random.Random(0)
    return {row["id"] for rows, share in cells for row in rng.sample(rows, round(size * share))}


# -- calls -----------------------------------------------------------------------------------------------------------


def counted(name: str, rows: Mapping[tuple[bool, bool], list[Row]], config: Config) -> list[Figure]:
    """Calls made against the formula; refuses to say anything where a verdict differs."""
    found = []
    k = config.enrich.top_k
    for trip in (False, True):
        plain, ours = rows[False, trip], rows[True, trip]
        if verdicts_sha256(plain) != verdicts_sha256(ours):
            raise SystemExit("expected the same verdicts with and without the lossless skip, found others")
        n, d = len(plain), sum(row["accepted"] for row in plain)
        formula = 2 * n + k * d + (4 if trip else 2) * d
        made = sum(row["calls"] for row in ours)
        if trip:
            found.append(Figure(f"{name}, with round trip, + 2|D|", made / formula, better="lower"))
        else:
            title = f"{name}: calls over 2N + K|D| + 2|D|, N {n}, |D| {d}"
            short = f"Generator calls over the paper's formula, {name}"
            found.append(Figure(title, made / formula, target=0.8, better="lower", short=short))
    return found


def orders(
    name: str,
    plain: Sequence[Row],
    made: Sequence[Row],
    corpus: Mapping[str, Passage],
    config: Config,
    gold: Mapping[str, Sequence[str]],
) -> list[Figure]:
    """What each order of closed and open book comes to in calls and prompt tokens, over asking both.

    Every order accepts the same. But a reject that open book settles has no closed-book score, and another reason.
    """
    gate, tokens = config.enrich, _lengths(stages(plain, corpus, config), config)

    def closed_first(row: Row) -> tuple[str, ...]:
        return ("closed book",) if row["s_nr"] else ("closed book", "open book")

    def open_first(row: Row) -> tuple[str, ...]:
        return ("open book", "closed book") if row["s_rag"] > gate.tau_s else ("open book",)

    def by_answer(row: Row) -> tuple[str, ...]:
        shown = [corpus[id] for id in row["hit_ids"]]
        held = any(acc(f"{hit.title}\n{hit.text}", gold[row["id"]]) for hit in shown)
        return closed_first(row) if held else open_first(row)

    def oracle(row: Row) -> tuple[str, ...]:
        return min(closed_first(row), open_first(row), key=len)

    ways: dict[str, Callable[[Row], tuple[str, ...]]] = {
        "both, as the paper's formula": lambda row: ("closed book", "open book"),
        "closed book first (wbrag)": closed_first,
        "open book first": open_first,
        "open book first where no hit holds the answer": by_answer,
        "an oracle's order, the least that shows the verdict": oracle,
    }
    table = Table(title=f"{name}: calls and prompt tokens by what is asked first, without round trip")
    for column in ("asked first", "calls", "of the formula", "prompt tokens", "of the formula"):
        table.add_column(column)
    cost = {}
    for way, asked in ways.items():
        calls = sum(len(asked(row)) + (len(row["hit_ids"]) + 2 if row["accepted"] else 0) for row in plain)
        read = sum(
            tokens[row["id"], stage]
            for row in plain
            for stage in (*asked(row), "solo", "evidence", "rewrite")
            if (row["id"], stage) in tokens
        )
        cost[way] = calls, read
        base = cost["both, as the paper's formula"]
        table.add_row(way, str(calls), f"{calls / base[0]:.3f}", f"{read:,}", f"{read / base[1]:.3f}")
    Console().print(table)
    base, ours, least = (cost[way] for way in (*list(ways)[:2], list(ways)[-1]))
    ids = _ids(_ordered(made, corpus, config)["row by row"], config)
    computed = sum(map(len, ids)) - cached_tokens(ids, SMALL)
    unsettled = sum(tokens[row["id"], stage] for row in plain for stage in closed_first(row))
    return [
        Figure(f"{name}: prompt tokens over the formula's", ours[1] / base[1], better="lower"),
        Figure(
            f"{name}: prompt tokens that are computed, blocks of {SMALL}, over the formula's",
            computed / base[1],
            target=LEAST_COMPUTED if "NQ" in name else None,
            better="lower",
            short=f"Prompt tokens computed over the paper's formula, {name}, blocks of {SMALL}" if "NQ" in name else "",
        ),
        Figure(f"{name}: of these closed and open book alone", unsettled / base[1], better="lower"),
        Figure(f"{name}: the fewest calls that any order could do with", least[0] / base[0], better="lower"),
    ]


def _lengths(asked: Mapping[str, Sequence[Ask]], config: Config) -> dict[tuple[str, str], int]:
    """Prompt tokens by row and stage."""
    found: dict[tuple[str, str], int] = {}
    for stage, asks in asked.items():
        for ask, ids in zip(asks, _ids(asks, config)):
            found[ask.id, stage] = found.get((ask.id, stage), 0) + len(ids)
    return found


# -- prefixes --------------------------------------------------------------------------------------------------------


def prefixes(rows: Sequence[Row], corpus: Mapping[str, Passage], config: Config) -> list[Figure]:
    """How many prompt tokens come out of the prefix cache, by layout, order, block size and room.

    Reckoned (`prefixes.py`), and held against what vLLM counts for one setting.
    """
    table = Table(title=f"Share of prompt tokens out of the prefix cache, {len(rows)} examples")
    for column in (
        "layout",
        "order",
        *(f"blocks of {block}" for block in BLOCKS),
        f"of {SMALL}, {ROOM:,} tokens of room",
    ):
        table.add_column(column)
    share: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (layout, prompts) in enumerate(LAYOUTS.items()):
            folder = Path(scratch, str(number))  # one each: a prompt file is read once
            folder.mkdir()
            for prompt, text in prompts.items():
                (folder / f"{prompt}.txt").write_text(text, encoding="utf-8")
            changed = config.model_copy(update={"prompts_dir": str(folder)})
            for order, asks in _ordered(rows, corpus, changed).items():
                ids = _ids(asks, config)
                total = sum(map(len, ids))
                found = [cached_tokens(ids, block) / total for block in BLOCKS]
                share[layout, order] = [*found, cached_tokens(ids, SMALL, ROOM) / total]
                table.add_row(layout, order, *(f"{s:.3f}" for s in share[layout, order]))
    Console().print(table)
    asks = _ordered(rows, corpus, config)["row by row"]
    [seen] = replay([[[ask._replace(max_tokens=1) for ask in asks]]], config, block_size=BLOCKS[0])
    shipped, other = list(LAYOUTS)[:2]
    tight = {key: values[-1] for key, values in share.items()}
    return [
        Figure("prompt tokens out of the prefix cache, as vLLM counts them", seen.cached / seen.prompt, "of all"),
        Figure("the same, reckoned", share[shipped, "row by row"][0], "of all"),
        Figure(f"reckoned with blocks of {SMALL} and {ROOM:,} tokens of room", tight[shipped, "row by row"], "of all"),
        Figure("the same, question before documents", tight[other, "row by row"], "of all"),
        Figure("the same, rows ordered by their first hit", tight[shipped, "row by row, by first hit"], "of all"),
        Figure("the same, stage by stage", tight[shipped, "stage by stage"], "of all"),
    ]


def _ordered(rows: Sequence[Row], corpus: Mapping[str, Passage], config: Config) -> dict[str, list[Ask]]:
    """The prompts as a pass asks them, as one over sorted rows would, and as a processor per stage would."""
    alike = sorted(rows, key=lambda row: ((row["hit_ids"] or [""])[:1], row["id"]))
    by_row = [stages([row], corpus, config).values() for row in rows]
    by_hit = [stages([row], corpus, config).values() for row in alike]
    return {
        "row by row": [ask for found in by_row for asks in found for ask in asks],
        "row by row, by first hit": [ask for found in by_hit for asks in found for ask in asks],
        "stage by stage": [ask for asks in stages(rows, corpus, config).values() for ask in asks],
    }


def _ids(asks: Sequence[Ask], config: Config) -> list[list[int]]:
    """The prompts' token ids."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path(config.generator))
    chats = [[{"role": m.role, "content": m.content} for m in ask.messages] for ask in asks]
    return [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]


if __name__ == "__main__":
    main()

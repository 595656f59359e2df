"""A made corpus of any size, an encoder that reads it, and units of a tenth of its passages.

Nothing of it is real but the shapes: a passage has some 25 words and one code, a unit repeats the sentence of the code.
The encoder is one of static embeddings (the mean of its words' vectors) with random weights, since a transformer would
take hours for a million passages on two cores; all that follows the encoder is as with any other.

`python -m lib.scale_world shelve WORKSPACE FIRST COUNT` puts units of COUNT passages from FIRST on the shelf,
`python -m lib.scale_world summary FOLDER` reads the rows of a run and sums them up.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wbrag.core.types import Passage
from wbrag.enrich.enrich import Verdict
from wbrag.enrich.row_files import read_rows, write_rows
from wbrag.enrich.rows import verdict_row
from wbrag.enrich.summary import summarise
from wbrag.workspace import Workspace

WORDS, SAID, DIMENSION = 10_000, 20, 384
SOURCES = 4  # names of where passages are from
SHELVED = 5_000  # units that are made in one go


def passage(number: int, version: int = 0) -> dict[str, str]:
    """The passage of this number; another `version` says another code."""
    drawn = random.Random(number)
    said = " ".join(f"w{drawn.randrange(WORDS)}" for _ in range(SAID))
    text = f"{sentence(number, version)} It lies beside {said}."
    return {"id": f"p{number}", "title": f"Item {number}", "text": text, "source": f"s{number % SOURCES}"}


def sentence(number: int, version: int = 0) -> str:
    return f"The code of Item {number} is c{(number * 7919 + version) % 1_000_003}."


def write(file: Path, numbers: Iterable[int], version: int = 0) -> Path:
    """These passages as a corpus of FlashRAG's format."""
    with file.open("w", encoding="utf-8") as out:
        for number in numbers:
            row = passage(number, version)
            row["contents"] = f"{row['title']}\n{row.pop('text')}"
            out.write(json.dumps(row) + "\n")
    return file


def write_encoder(folder: Path) -> Path:
    """Static embeddings over the words of the passages; numbers are read digit by digit."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    plain = ["the", "code", "of", "item", "is", "it", "lies", "beside", "c", ".", *(str(n) for n in range(10))]
    pieces = ["[PAD]", "[UNK]", *plain, *(f"##{n}" for n in range(10)), *(f"w{n}" for n in range(WORDS))]
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    weights = np.random.default_rng(0).standard_normal((len(pieces), DIMENSION), dtype=np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, weights)], device="cpu").save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


def accepted(numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Rows of enrichment that accepted one unit for each of these passages."""
    for number in numbers:
        row = passage(number)
        read = Passage(row["id"], row["title"], row["text"])
        yield {
            "id": f"q{number}",
            "unit_title": read.title,
            "unit_text": sentence(number),
            "sources": [{"id": read.id, "content_hash": read.content_hash}],
            "evidence": [{"passage_id": read.id, "sentence": sentence(number)}],
            "s_nr": 0.0,
            "s_rag": 1.0,
            "s_unit": 1.0,
            "s_kept": 1.0,
            "answer_in_unit": 1.0,
            "answer_in_sources": 1.0,
        }


def shelve(workspace: str, first: int, count: int) -> None:
    """Units of every tenth passage, `count` of them from number `first` on."""
    from wbrag.core.config import load

    config = load(Path(workspace) / "settings.yaml", workspace=workspace)
    with Workspace(workspace, config) as w:
        for start in range(first, first + count, SHELVED):
            w.shelve(list(accepted(range(10 * start, 10 * min(start + SHELVED, first + count), 10))), "made")


def write_verdicts(folder: Path, count: int) -> None:
    """As many rows of enrichment, of which every fifth was accepted."""
    none = verdict_row(Verdict("", "", "qa", False, ""))
    for start in range(0, count, SHELVED):
        rows = []
        for number in range(start, min(start + SHELVED, count)):
            hits = [f"p{number + n}" for n in range(5)]
            row = none | {"id": f"q{number}", "question": f"What is the code of Item {number}?", "hit_ids": hits}
            row |= {
                "hit_scores": [0.8, 0.7, 0.6, 0.5, 0.4],
                "s_nr": 0.0,
                "s_rag": 1.0,
                "s_doc": [1.0, 0.0, 0.0, 0.0, 0.0],
            }
            row |= {"retained": [0], "reason": "no gain", "calls": 7, "ends": '{"stop": 7}', "error": ""}
            if number % 5 == 0:
                [unit] = accepted([number])
                row |= unit | {"accepted": True, "reason": "accepted", "source_words": 30, "unit_words": 8}
                row |= {"answer_in_unit": True, "answer_in_sources": True}
            rows.append(row)
        write_rows(folder, "enrich", rows, f"part-{start:09d}")


def summary(folder: Path) -> None:
    print(summarise(read_rows(folder, "enrich").values(), 5)["accepted"])


if __name__ == "__main__":
    if sys.argv[1] == "shelve":
        shelve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        summary(Path(sys.argv[2]))

"""Reading length: how many passages an encoder does not read to their end, or not at all.

An encoder cuts what is longer than its limit without a word, and its vocabulary knows some scripts as one token for
"unknown": what is cut or unknown can never be found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from wbrag.core.io.files import Location, opened
from wbrag.core.model_sections import EncoderConfig
from wbrag.retrieval.encoder import path_of

LOOKED_AT = 40_000  # passages at most, from all parts of the corpus
GROUPS = 64  # row groups that are read for it
MOST_UNKNOWN = 0.5  # share of unknown tokens from which a passage cannot be read
BATCH = 1000


class ReadingLength(NamedTuple):
    """Of the passages looked at so many are longer than the encoder reads, and so many mostly unknown to it."""

    looked_at: int
    cut: int
    unknown: int

    def said(self, settings: EncoderConfig, passages: int) -> list[str]:
        """A sentence for each that is not 0."""
        of = f"of {self.looked_at:,} passages{'' if self.looked_at == passages else ' looked at'}"
        found = []
        if self.cut:
            found.append(
                f"{self.cut:,} {of} are longer than the {settings.max_tokens} tokens that the encoder reads, and what "
                "is beyond them cannot be found: ingest with a smaller --chunk-words, or raise encoder.max_tokens"
            )
        if self.unknown:
            found.append(
                f"{self.unknown:,} {of} are in characters that the encoder {settings.model!r} does not know: choose a "
                "multilingual one with encoder.model"
            )
        return found


def reading_length(settings: EncoderConfig, files: Sequence[Location], prefix: str = "") -> ReadingLength | None:
    """How the passages of a corpus are read; None where the encoder's tokenizer cannot be looked at by itself."""
    tokenizer = _tokenizer(settings)
    if tokenizer is None:
        return None
    unknown = [id for name in ("[UNK]", "<unk>") if (id := tokenizer.token_to_id(name)) is not None]
    looked_at = cut = strange = 0
    for texts in _batches(sampled(files, LOOKED_AT)):
        for one in tokenizer.encode_batch_fast([prefix + text for text in texts]):
            looked_at += 1
            cut += len(one.ids) > settings.max_tokens
            own = len(one.ids) - sum(one.special_tokens_mask)
            strange += sum(map(one.ids.count, unknown)) > MOST_UNKNOWN * own
    return ReadingLength(looked_at, cut, strange)


def sampled(files: Sequence[Location], most: int) -> Iterator[str]:
    """Contents of the corpus's passages, of `most` at most, taken in runs from all over it."""
    import pyarrow.parquet as pq

    groups = [(file, i) for file in files for i in range(pq.ParquetFile(opened(file)).num_row_groups)]
    groups = [groups[len(groups) * i // GROUPS] for i in range(GROUPS)] if len(groups) > GROUPS else groups
    left = most
    for n, (file, i) in enumerate(groups):
        share = -(-left // (len(groups) - n))
        if share <= 0:
            return
        table = pq.ParquetFile(opened(file)).read_row_group(i, columns=["title", "text"]).slice(0, share)
        left -= table.num_rows
        yield from (f"{t}\n{x}" for t, x in zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _tokenizer(settings: EncoderConfig) -> Any:
    """The encoder's own, without its cut and padding."""
    from tokenizers import Tokenizer

    folder = Path(path_of(settings.model)).expanduser()
    try:
        if folder.is_dir():
            found = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            from huggingface_hub import hf_hub_download

            found = Tokenizer.from_file(hf_hub_download(settings.model, "tokenizer.json", revision=settings.revision))
    except Exception:  # the hub and its files raise whatever they like, and not every encoder has such a file
        return None
    found.no_truncation()
    found.no_padding()
    return found

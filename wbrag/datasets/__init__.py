"""Corpora and question sets, from the formats they are published in to wbrag's Parquet files."""

from wbrag.datasets.chunk import Chunk, chunk
from wbrag.datasets.formats import FORMATS, Format
from wbrag.datasets.ingest import CORPUS_SCHEMA, EXAMPLES_SCHEMA, IngestResult, ingest_corpus, ingest_examples
from wbrag.datasets.source import Input

__all__ = [
    "CORPUS_SCHEMA",
    "EXAMPLES_SCHEMA",
    "FORMATS",
    "Chunk",
    "Format",
    "IngestResult",
    "Input",
    "chunk",
    "ingest_corpus",
    "ingest_examples",
]

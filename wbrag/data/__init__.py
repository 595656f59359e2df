"""Data: corpora and question sets, from the formats they are published in to wbrag's Parquet files.

Knows no model and no index: imports `wbrag.core` alone.
"""

from wbrag.data.chunk import Chunk, chunk
from wbrag.data.formats import FORMATS, Format
from wbrag.data.ingest import EXAMPLES_SCHEMA, IngestResult, ingest_corpus, ingest_examples
from wbrag.data.parts import CORPUS_SCHEMA
from wbrag.data.source import Input

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

"""Puts a corpus into PostgreSQL as a system without wbrag would hold it: a table of texts and vectors.

`python load.py corpus.parquet`, with the DSN in WBRAG_PG_DSN. Without PostgreSQL: `python load.py --serve FOLDER` runs
one from the package pgserver in FOLDER until Ctrl-C, and prints its DSN.
"""

import os
import signal
import sys

import psycopg
import pyarrow.parquet as pq

from wbrag.core.sections import EncoderConfig
from wbrag.retrieval.encoder import Encoder


def load(file: str) -> None:
    encoder = Encoder(EncoderConfig())
    passages = pq.read_table(file, columns=["id", "title", "text"]).to_pylist()
    vectors = encoder.encode_passages([f"{p['title']}\n{p['text']}" for p in passages])
    with psycopg.connect(os.environ["WBRAG_PG_DSN"]) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        cursor.execute(
            f"CREATE TABLE passages (id text PRIMARY KEY, title text, text text, embedding vector({encoder.dimension}))"
        )
        with cursor.copy("COPY passages FROM STDIN") as copy:
            for p, vector in zip(passages, vectors):
                copy.write_row((p["id"], p["title"], p["text"], str(vector.tolist())))
        cursor.execute("CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops)")
    print(f"{len(passages)} passages are in the table `passages`")


def serve(folder: str) -> None:
    import pgserver

    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with pgserver.get_server(folder, cleanup_mode="stop") as server:
        print(f"export WBRAG_PG_DSN='{server.get_uri()}'", flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        load(sys.argv[1])

"""Retrieval: query to hits, by a dense encoder over FAISS shards or external stores. Knows no language model."""

"""Keyword search: BM25 beside the vectors, shard by shard, with the whole corpus's document frequencies."""

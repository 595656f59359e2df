"""Dense index: FAISS shards, how they are built and searched, and the manifest that lists them."""

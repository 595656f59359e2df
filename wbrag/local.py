"""The third host: plain asyncio in this process, for `wbrag search`, `wbrag ask` and notebooks."""

from __future__ import annotations

from wbrag.generators import build
from wbrag.methods import Rag
from wbrag.methods import method as named
from wbrag.retrieval.encoder import BatchedEncoder, Encoder
from wbrag.retrieval.retriever import IndexRetriever, LocalShard
from wbrag.retrieval.shard import open_shards
from wbrag.store import Store
from wbrag.stores import open_base
from wbrag.tasks import task as known_task
from wbrag.types import Answer, Sampling


def open_retriever(store: Store, release: str) -> IndexRetriever:
    """The indexes of `release`, verified and loaded into this process."""
    config = store.config
    gpu = config.index.gpus_per_shard > 0
    shards = [
        LocalShard(shard)
        for manifest, origin in store.indexes(release)
        for shard in open_shards(store.path / "index", manifest, origin, gpu=gpu)
    ]
    encoder = BatchedEncoder(Encoder(config.encoder))
    return IndexRetriever(encoder, shards, config.retrieval, store.unit_sources(), open_base(config, encoder))


async def ask(store: Store, question: str, task: str, method: str, release: str) -> Answer:
    """Answer one question with an engine of this process."""
    config = store.config
    generator = build(config)
    try:
        sampling = Sampling(config.generator.max_answer_tokens)
        retriever = open_retriever(store, release)
        top_k, prompts_dir = config.retrieval.top_k, config.prompts_dir
        rag = Rag(generator, retriever, known_task(task), top_k, sampling, prompts_dir, config.methods)
        return await named(method)(question, rag, None)
    finally:
        await generator.close()

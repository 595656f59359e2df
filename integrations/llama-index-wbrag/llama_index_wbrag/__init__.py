"""LlamaIndex retriever over a wbrag endpoint (`wbrag serve`)."""

from llama_index_wbrag.retriever import WbragRetriever

__all__ = ["WbragRetriever"]

"""Haystack retriever over a wbrag endpoint (`wbrag serve`)."""

from haystack_wbrag.retriever import WbragRetriever

__all__ = ["WbragRetriever"]

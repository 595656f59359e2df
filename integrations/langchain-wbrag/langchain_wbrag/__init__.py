"""LangChain retriever over a wbrag endpoint (`wbrag serve`)."""

from langchain_wbrag.retriever import WbragRetriever

__all__ = ["WbragRetriever"]

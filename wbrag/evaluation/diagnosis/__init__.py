"""Diagnosis: where a knowledge base fails its questions, and which lever fits (`wbrag diagnose`)."""

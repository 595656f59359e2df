"""The small corpus, endpoint and workspace of the integration tests."""

from tests.integration.conftest import copy, data, endpoint, indexed

__all__ = ["copy", "data", "endpoint", "indexed"]

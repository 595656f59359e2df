"""Maintainers' tools, which are no part of the wheel."""

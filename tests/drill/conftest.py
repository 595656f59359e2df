"""What the drills share: nodes that die."""

from tests.support.nodes import nodes

__all__ = ["nodes"]

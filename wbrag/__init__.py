"""wbrag: trains the knowledge base of a RAG system (WriteBack-RAG, arXiv 2603.25737).

`import wbrag` loads nothing heavy: `Workspace` is imported at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbrag.workspace import Workspace

__version__ = "0.1.0"
__all__ = ["Workspace", "__version__"]


def __getattr__(name: str) -> Any:  # `import wbrag` stays light: the command line's --help needs none of the stack
    if name == "Workspace":
        from wbrag.workspace import Workspace

        return Workspace
    raise AttributeError(f"module 'wbrag' has no attribute {name!r}")

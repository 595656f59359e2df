"""The command line: one parser, one module per group of commands, one renderer.

Importing it loads nothing heavy: `wbrag --help` answers at once.
"""

from wbrag.cli.main import main

__all__ = ["main"]

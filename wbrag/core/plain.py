"""Plain text for terminals: what data holds, without what a terminal would obey.

Titles, names and replies come from corpora, models and users. An escape sequence among them could move the cursor,
recolour a table, or write to the clipboard of whoever looks at it.
"""

from __future__ import annotations

import re

# Control characters but tab and newline, and characters that turn the direction of what follows.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_C1 = re.compile(r"[\x7f-\x9f]")


def plain(text: str) -> str:
    """`text` as a terminal may show it: tabs and newlines stay, other control characters are gone."""
    return _OBEYED.sub("", text)


def escaped(document: str) -> str:
    """A JSON document with the control characters escaped that JSON itself lets stand."""
    return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", document)

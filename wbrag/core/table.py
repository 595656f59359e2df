"""Text table: title, head and rows of strings.

Its cells are formatted already: terminal, Markdown and HTML only lay them out.
"""

Table = tuple[str, list[str], list[list[str]]]  # title, head, rows

"""A table of text that any face can draw."""

Table = tuple[str, list[str], list[list[str]]]  # title, head, rows

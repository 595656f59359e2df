"""Core: types, settings, errors, metrics, prompts and file access. The lowest room: it imports no other."""

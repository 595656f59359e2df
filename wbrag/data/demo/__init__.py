"""Demo data: a seeded fictional archive and its question sets, equal on every machine. No training code."""

"""Enrichment: the paper's Algorithm 1, and the row jobs that apply it. Knows no executor and no library of units."""

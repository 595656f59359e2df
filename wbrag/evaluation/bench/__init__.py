"""Benchmark: a grid of methods, question sets and models over several libraries, with controls and studies."""

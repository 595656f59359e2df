"""What the benchmarks share: workloads, peers, instruments and the record of figures.

A command here is `python benchmarks/NAME.py`, which puts `benchmarks/` on the path; so these modules are `lib.NAME`.
"""

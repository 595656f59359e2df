"""Reports: the demo's page, the benchmark's plots, and the wording of results."""

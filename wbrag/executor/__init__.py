"""Executors: where row jobs and models run, in this process or on Ray."""

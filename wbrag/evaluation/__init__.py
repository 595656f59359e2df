"""Evaluation: accuracy of releases, benchmark suites, cost estimates, and the pages that report them."""

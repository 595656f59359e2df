PY := .venv/bin/python
# Two processes; the tests of a file share one, and with it what the file starts. Integration comes before unit.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
PYTHONS := wbrag $(wildcard jobs/*.py serve/*.py)

.PHONY: help demo test test-all test-gpu-set drill fuzz lint setup clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/'

setup:
	@scripts/setup.sh $(SET)

demo: setup  ## The whole story on this machine: no GPU, no account, no download beyond the packages
	@.venv/bin/wbrag demo

test: lint  ## Lint, types, and the fast lane of the tests: under ten minutes on two cores
	@$(PY) -m pytest $(SIDE_BY_SIDE) --junitxml=build/$@.xml

test-all: lint  ## All tests but the drills: the whole demo, every host, processes killed
	@$(PY) -m pytest $(SIDE_BY_SIDE) --junitxml=build/$@.xml -m "not drill and not fuzz"

drill: lint  ## Fault drills: engines, nodes, heads and stores that really die, for minutes each
	@$(PY) -m pytest --junitxml=build/$@.xml -m drill

fuzz: setup  ## Inputs of any kind into every reader and every endpoint, for an hour (FUZZ_MINUTES)
	@$(PY) scripts/fuzz.py

test-gpu-set:  ## The GPU set without a GPU: install it apart, import it, run what can run
	@scripts/test_gpu_set.sh

lint: setup  ## ruff, who may import whom, and mypy --strict on library, jobs and benchmarks
	@$(PY) -m ruff check --quiet .
	@.venv/bin/lint-imports > .venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }
	@$(PY) -m mypy --no-error-summary $(PYTHONS)
	@$(PY) -m mypy --no-error-summary benchmarks  # apart: two of its files have names that jobs/ has too

clean:  ## Remove .venv, caches and builds (a workspace stays)
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

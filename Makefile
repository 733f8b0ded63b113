# Every target sets up what it needs by itself; after the first time nothing is downloaded again.
# Another Python: `make setup PYTHON=python3.13`. More options for the tests: `make test PYTEST_OPTIONS=-x`.

SHELL := /bin/bash
PYTHON ?= python3
PYTEST_OPTIONS ?=
NAME ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
# Files of tests side by side, each process with one thread: torch's threads would only wait for one another. WORKERS=1 for one by one.
PARALLEL := --numprocesses $(WORKERS) --dist loadfile
# The stamp carries a checksum of what was asked for, so that a checkout that only touches file times installs nothing.
STAMP := $(VENV)/.ready-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.PHONY: help setup bytecode demo test fast prove lint docs bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  \1\t/' | expand -t 12

setup: $(STAMP)  ## make .venv from constraints.txt (a few minutes, once)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"$(PYTHON) is Python {sys.version.split()[0]}, 3.11 or newer is needed. Name another: make setup PYTHON=python3.13")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@rm -f $(VENV)/.ready-*
	@touch $@

# Compiled once here: where PYTHONDONTWRITEBYTECODE is set, every `lode` would otherwise compile itself again at each start.
bytecode: $(STAMP)
	@$(BIN)/python -m compileall -q lode

demo: bytecode  ## the whole path on real data: train, judge, serve, call; about three minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash docs/demo.sh

test: bytecode  ## every tier that needs no GPU and no hours
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) $(PYTEST_OPTIONS)

fast: bytecode  ## unit tests only
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit $(PARALLEL) $(PYTEST_OPTIONS)

prove: bytecode  ## everything but GPU tests, hours: every recipe, every kill at full count
	$(BIN)/python -m pytest -m 'not gpu' -o timeout=0 -o faulthandler_timeout=0 $(PYTEST_OPTIONS)

lint: bytecode  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: bytecode  ## write docs/reference from signatures and --help
	$(BIN)/python docs/reference/generate.py

bench: bytecode  ## make bench NAME=serve_path
	@test -n "$(NAME)" || { echo "Name one: make bench NAME=..., one of: $$(cd benchmarks && ls *.py | sed 's/\.py$$//' | tr '\n' ' ')"; exit 2; }
	$(BIN)/python benchmarks/$(NAME).py

clean:  ## remove what make made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

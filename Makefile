# `make help` lists the targets. ARGS="…" is passed on: make train ARGS="optimizer=adam"

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup train test test-full check format bench tensorboard figures clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## makes .venv with the locked environment

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("make: Python must be 3.11, 3.12 or 3.13, but $(PYTHON) is %d.%d; try make PYTHON=python3.12 setup" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

train: .venv/installed ## trains an MLP on digits; ARGS="optimizer=sgd data=wine" changes choices
	@$(BIN)/python train.py $(ARGS)

test: .venv/installed ## the ordinary tests, about four minutes on two cores
	$(PYTEST) $(ARGS)

test-full: .venv/installed ## all tests, the slow grids too, and other examples each time
	$(PYTEST) -m "slow or not slow" --hypothesis-profile full $(ARGS)

check: .venv/installed ## format, lint, imports, types and tests: the gate
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(PYTEST)

format: .venv/installed ## puts the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed ## time per step against hand-written loops
	$(BIN)/python scripts/benchmark.py $(ARGS)

tensorboard: .venv/installed ## the curves of all runs, on localhost
	$(BIN)/tensorboard --logdir logs $(ARGS)

figures: .venv/installed ## draws the pictures of the README again
	$(BIN)/python scripts/figures.py $(ARGS)

clean: ## removes .venv and caches; runs in logs/ stay
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

VENV ?= .venv
PYTHON ?= python3
# One more than two cores: a test often waits, for a server or for a process to end.
WORKERS ?= 3

BIN := $(VENV)/bin
MADE := $(VENV)/.made-by-make
QUICKSTART := $(VENV)/.quickstart-installed
DEV := $(VENV)/.dev-installed
# Twice quiet: some machines warn of each index that lacks a package. Errors are shown.
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

.PHONY: help quickstart test test-fast browser check format faults interruptions bench bench-tracking bench-memory bench-recommender bench-api bench-preprocessing clean

help:
	@echo "make quickstart   set up and train a small model, tracked to Aim and MLflow (minutes, most of it installing)"
	@echo "make test         set up and run all tests"
	@echo "make test-fast    set up and run the tests that neither train nor start servers"
	@echo "make browser      make sure that there is a Chromium for the tests of web pages, or install one"
	@echo "make check        formatting, lint, types, security"
	@echo "make format       format and mend what ruff can mend"
	@echo "make interruptions  stop and kill runs at random moments, and write docs/interruptions.md (about half an hour)"
	@echo "make faults       break every tracker's store in every way, and write docs/faults.md (about an hour)"
	@echo "make bench        compare the speed of training with TRL's, and with benchmarks/reference.csv (some 30 minutes)"
	@echo "make bench-tracking  measure what tracking costs, and write docs/faults.md (some 10 minutes)"
	@echo "make bench-memory  compare estimated, traced and measured memory, and write docs/memory.md (some 20 minutes)"
	@echo "make bench-recommender  train recommended and other configurations, and write docs/recommended-runs.md (an hour)"
	@echo "make bench-api       measure the recommender's HTTP API (a minute)"
	@echo "make bench-preprocessing  time tokenizing against TRL's, and write docs/preprocessing.md (some 15 minutes)"
	@echo "make clean        remove the environment that make made, and caches; runs/ stays"
	@echo "Variables: VENV=$(VENV) PYTHON=$(PYTHON) WORKERS=$(WORKERS)"

quickstart: $(QUICKSTART)
	@echo "==> training: python -m tuning.sft_trainer configs/quickstart.json"
	@$(BIN)/python -m tuning.sft_trainer configs/quickstart.json

test: $(DEV) browser
	@echo "==> all tests, $(WORKERS) workers"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-fast: $(DEV)
	@echo "==> fast tests, $(WORKERS) workers"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

# Without a browser the other tests still run; those of web pages fail, and say what to install.
browser: $(DEV)
	@echo "==> looking for a Chromium"
	-@$(BIN)/python tests/browser.py

check: $(DEV)
	@echo "==> ruff format --check, ruff check, pyright, bandit"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive tuning --severity-level medium

format: $(DEV)
	@echo "==> ruff format, ruff check --fix"
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

interruptions: $(DEV)
	@echo "==> python -m benchmarks.interruptions"
	@$(BIN)/python -m benchmarks.interruptions

faults: $(DEV)
	@echo "==> python -m benchmarks.faults"
	@$(BIN)/python -m benchmarks.faults

bench: $(DEV)
	@echo "==> python -m benchmarks.run --scenarios benchmarks/scenarios.yaml"
	@$(BIN)/python -m benchmarks.run --scenarios benchmarks/scenarios.yaml

bench-tracking: $(DEV)
	@echo "==> python -m benchmarks.tracking"
	@$(BIN)/python -m benchmarks.tracking

bench-memory: $(DEV)
	@echo "==> python -m benchmarks.memory"
	@$(BIN)/python -m benchmarks.memory

bench-recommender: $(DEV)
	@echo "==> python -m benchmarks.recommender"
	@$(BIN)/python -m benchmarks.recommender

bench-api: $(DEV)
	@echo "==> python -m benchmarks.api"
	@$(BIN)/python -m benchmarks.api

bench-preprocessing: $(DEV)
	@echo "==> python -m benchmarks.preprocessing"
	@$(BIN)/python -m benchmarks.preprocessing

clean:
	@if [ -f $(MADE) ]; then echo "==> removing $(VENV)"; rm -rf $(VENV); else echo "==> $(VENV) was not made by make: it stays"; fi
	@echo "==> removing caches"
	@rm -rf dist .pytest_cache .ruff_cache .hypothesis
	@find tuning tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that is there already and has pip is used as it is.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or newer is needed; name one with: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "==> making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $(MADE)

$(QUICKSTART): pyproject.toml | $(BIN)/python
	@echo "==> installing tuning[aim,mlflow] into $(VENV) (some minutes the first time)"
	@$(PIP) --editable ".[aim,mlflow]"
	@$(BIN)/python -m compileall -q tuning  # pip compiles what it copies, and this is not copied
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "==> installing tuning[dev] into $(VENV) (some minutes the first time)"
	@$(PIP) --editable ".[dev]"
	@$(BIN)/python -m compileall -q tuning  # pip compiles what it copies, and this is not copied
	@touch $@

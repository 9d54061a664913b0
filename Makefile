# make demo: from a fresh clone to the app in a browser, with the shipped models.
# make test: from a fresh clone to passed tests. Browser tests need Chromium and skip without it.
# make test-all: with the long ones: a Ray cluster of two nodes, torchrun, searches that are killed.

VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8501
# The first interpreter that is new enough; or name one: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test test-long test-all lint bench clean

demo: $(VENV)/.app
	$(BIN)/lungvae app --port $(PORT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long" $(PYTEST_ARGS)

test-long: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m long $(PYTEST_ARGS)

test-all: test test-long

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/traversal_latency.py --model gvae
	$(BIN)/python benchmarks/traversal_latency.py --model dirvae

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[nifti]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev,browser,nifti,cluster,fuzz]"
	@touch $@ $(VENV)/.app

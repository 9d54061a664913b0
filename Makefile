# make demo: from a fresh clone to the app in a browser, with the shipped models.
# make test: from a fresh clone to passed tests. Browser tests need Chromium and skip without it.
# make test-all: with the long ones: a Ray cluster of two nodes, torchrun, searches that are killed.
# Both install the versions in constraints.txt, with which the tests ran; `make constraints` renews it from what is
# installed here. make test-lowest and test-newest: the core tests with the lowest versions that pyproject.toml
# allows (but for torch), and with the newest.

VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8501
# The first interpreter that is new enough; or name one: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test test-long test-exhaustive test-all test-lowest test-newest constraints lint bench clean

demo: $(VENV)/.app
	$(BIN)/lungvae app --port $(PORT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long" $(PYTEST_ARGS)

test-long: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "long and not exhaustive" $(PYTEST_ARGS)

test-exhaustive: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m exhaustive $(PYTEST_ARGS)

test-all: test test-long test-exhaustive

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/traversal_latency.py --model gvae
	$(BIN)/python benchmarks/traversal_latency.py --model dirvae

constraints: $(VENV)/.dev
	$(BIN)/python docs/make_constraints.py

# Fast tests of what pages and commands stand on.
CORE := tests/data/test_slices.py tests/data/test_importing.py tests/data/test_splits.py tests/vae \
	tests/training/test_fit.py tests/training/test_ensemble.py tests/statistics \
	tests/evaluation/test_report.py tests/explore/test_maps.py tests/serving/models/test_registry.py \
	tests/serving/http/test_security.py tests/serving/http/test_sockets.py tests/pages/test_home.py

test-lowest test-newest: test-%: $(VENV)-%/.dev
	$(VENV)-$*/bin/python -m pytest -n 2 --dist loadfile -m "not long and not browser" $(CORE)

$(VENV)-lowest/.dev: pyproject.toml docs/make_constraints.py
	rm -rf $(VENV)-lowest && $(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet packaging
	$(VENV)-lowest/bin/python docs/make_constraints.py --lowest $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --constraint $(VENV)-lowest/lowest.txt --editable ".[dev,server]"
	@touch $@

$(VENV)-newest/.dev: pyproject.toml
	rm -rf $(VENV)-newest && $(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --editable ".[dev,server]"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,browser,cluster,fuzz]"
	@touch $@ $(VENV)/.app

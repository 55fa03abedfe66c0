# Every target does its own set-up; a second call does not repeat it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
LIGHT := tests/common tests/config tests/core tests/parsing tests/tasks tests/test_platforms.py
RUN ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help demo test test-light test-long coverage bench check format release clean

help:           ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/installed ## Train a tiny model by five methods, side by side, on this machine's CPU (minutes).
	$(BIN)/sparring demo --run $(RUN)

test: check     ## Everything that guards main: check, then the tests.
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not long" tests

test-light: $(VENV)/installed-all ## The tests that train nothing; also on macOS and Windows.
	$(BIN)/python -m pytest -m "not long" $(LIGHT)

coverage: $(VENV)/installed-all ## Which lines the tests run; about twice as long as test.
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not long" --cov --cov-report term:skip-covered tests

test-long: $(VENV)/installed-all ## The tests with counts too long for every push.
	$(BIN)/python -m pytest -m long --timeout 7200 tests/runs/test_demo.py
	$(BIN)/python -m pytest -n 2 -m long --timeout 7200 --ignore tests/runs/test_demo.py tests

bench: $(VENV)/installed-all ## Race against other tools, on this machine (about an hour; leave it alone meanwhile).
	$(BIN)/python -m benchmarks

check: $(VENV)/installed-all ## Style, types, import contracts.
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-all ## Put the source in its one style.
	$(BIN)/ruff check --fix src tests benchmarks examples
	$(BIN)/ruff format src tests benchmarks examples

release: $(VENV)/installed-release ## Build the package, check it, run it from an empty environment; nothing is published.
	rm -rf dist build/release
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/release
	$(subst $(VENV),build/release,$(PIP)) dist/*.whl
	$(subst $(VENV),build/release,$(BIN))/sparring --version
	$(subst $(VENV),build/release,$(BIN))/sparring list recipes

clean:          ## Remove the virtual environment and all caches; runs stay.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/installed-release: $(VENV)/installed-all
	$(PIP) --editable '.[release]'
	touch $@

$(VENV)/installed-all: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[check,test,oracle,serving,gpu,math,prices]'
	touch $@ $(VENV)/installed

# Two commands are enough: `make demo` and `make test`. Each makes the virtual environment it needs.
PYTHON ?= python3.11
VENV ?= .venv
OUT ?= neurosal-demo
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
SOURCES = neurosal tests tutorials benchmarks atlases docs

.PHONY: help demo test slow tutorials docs lint bench clean
.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed  ## simulate a small HCP study, decode it, explain it, print where the report is
	$(VENV)/bin/neurosal demo --out $(OUT)

test: $(VENV)/.installed-test  ## run the tests (real data too, where NEUROSAL_TEST_DATA is set)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

slow: $(VENV)/.installed-test  ## run the tests that take minutes
	$(VENV)/bin/python -m pytest -m slow

tutorials: $(VENV)/.installed-test  ## run every tutorial
	$(VENV)/bin/python -m pytest -m tutorial

docs: $(VENV)/.installed-docs  ## build the pages: docs/_build/html/index.html
	$(VENV)/bin/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo docs/_build/html/index.html

lint: $(VENV)/.installed-dev  ## style, spelling, and the direction of the imports
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/codespell $(SOURCES) *.md
	$(VENV)/bin/lint-imports

bench: $(VENV)/.installed-test  ## speed and memory, each beside its peer in one process
	for script in cells saliency parcellation; do \
		$(VENV)/bin/python benchmarks/$$script.py --json benchmarks/$$script.json || exit 1; done

clean:  ## remove the virtual environment, the demo's folder and the built pages
	rm -rf $(VENV) $(OUT) docs/_build docs/api docs/tutorials

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[test]"
	@touch $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[docs]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@

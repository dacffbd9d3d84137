# `make demo` shows the whole thing work, `make test` runs all tests; `make lint` checks the
# code, `make docs` builds the site; each needs only Python and pip.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
DOCS := .venv/.installed-docs
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
METHOD := adi
# Short fits and one image of each pair: the demo shows that everything works, and measures nothing.
DEMO := --method $(METHOD) --profile quick --images-per-pair 1
# Processes that share the tests, with one thread each.
WORKERS ?= 2

.PHONY: demo test lint docs

demo: $(STAMP)
	@$(BIN)/actionbench run $(DEMO)
	@$(BIN)/actionbench report
	@run=$$($(BIN)/actionbench run $(DEMO) --dry-run | sed -n '1s/:.*//p') && \
	$(BIN)/actionbench show $$run && \
	echo "pictures: every image under runs/images, the run's grid in runs/runs/$$run/grid.png"

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(INSTALL) -e '.[dev]'
	@touch $@

$(DOCS): $(STAMP)
	$(INSTALL) -e '.[docs]'
	@touch $@

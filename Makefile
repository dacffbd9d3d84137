# `make demo` shows the whole thing work, `make test` runs all tests; both need only Python and pip.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
METHOD := adi

.PHONY: demo test lint

demo: $(STAMP)
	@$(BIN)/actionbench run --method $(METHOD)
	@$(BIN)/actionbench report
	@run=$$($(BIN)/actionbench run --method $(METHOD) --dry-run | sed -n '1s/:.*//p') && \
	$(BIN)/actionbench show $$run && \
	echo "pictures: every image under runs/images, the run's grid in runs/runs/$$run/grid.png"

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

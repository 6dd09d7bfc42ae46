# Two commands matter: `make demo` and `make test`. Everything installs itself first.
PYTHON ?= python3
BIN := .venv/bin

# Some containers set it: then every process, and every workflow in its sandbox, compiles anew what
# it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test dev check format lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/installed ## Run the scenario on a stack of its own and explain every step
	@$(BIN)/billing demo

test: .venv/installed ## Run all tests
	@$(BIN)/python -m pytest -n 2

dev: .venv/installed ## Run everything until Ctrl-C: API on 8080, Temporal UI on 8233
	@exec $(BIN)/billing dev

check: .venv/installed ## Format, lint, types, imports between layers, migrations against tables
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m dev.drift

format: .venv/installed ## Let ruff format and mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Resolve the requirements anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 pyproject.toml -o requirements.txt
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --extra development -c requirements.txt pyproject.toml -o requirements-dev.txt

.venv/installed: requirements-dev.txt pyproject.toml
	@echo "Installing into .venv (once, about a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ echo "$(PYTHON) needs its module venv (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

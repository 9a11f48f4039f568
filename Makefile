# All it takes is Python 3.11 or newer with pip, and make. Everything is installed into .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := pip install -qq --disable-pip-version-check --constraint constraints.txt
PIP := $(BIN)/$(INSTALL)
# On its own, because every Airflow command looks through all providers that are installed beside it.
DISTRIBUTED := .venv-distributed

# The folders whose tests start no Airflow, no browser, and build nothing.
UNIT_TESTS := $(addprefix tests/,batch compat decorators durable hooks live observability operators results sandbox segmind \
	sensors tasks triggers)
# Where no bytecode is kept, each of the processes that run tests rewrites all assertions again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo unit test matrix mutants audit screenshots chaos distributed live benchmarks check docs format release \
	release-url changelog forge clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Make pictures in a real Airflow, without a key and for nothing; KEEP=1 leaves its UI running
	@KEEP="$(KEEP)" CONFIRM="$(CONFIRM)" $(BIN)/python -m demo

unit: $(VENV)/.dev ## Run the tests that start no Airflow, no browser and nothing else that takes seconds
	@$(BIN)/pytest -n auto --dist worksteal --hypothesis-profile quick -m "not heavy" $(UNIT_TESTS)

# The tests in a real Airflow are two groups of about the same length, "airflow" and "second airflow". Each has a process of
# its own, which waits for most of the time; the third runs the others.
test: $(VENV)/.dev ## Run all tests, those in a real Airflow included
	@$(BIN)/pytest -n 3 --dist loadgroup --ignore tests/chaos

matrix: $(VENV)/.dev ## Run the tests on every Airflow and Python; TAGS="oldest newest" on those two alone
	@$(BIN)/nox $(if $(TAGS),--tags $(TAGS))

mutants: $(VENV)/.dev ## Change the code of segmind/ and the ledger bit by bit, and count what the tests notice
	@$(BIN)/nox --error-on-missing-interpreters --session mutation

audit: $(VENV)/.dev ## List licences and known vulnerabilities; needs the index's vulnerability service
	@$(BIN)/nox --session audit

screenshots: $(VENV)/.dev ## Take the images in docs/images again; needs Chromium
	@KANDINSKY_SCREENSHOTS=1 $(BIN)/pytest tests/browser

chaos: $(VENV)/.dev ## Kill workers, triggerer, scheduler and API server in mid-run, and count what was paid for
	@$(BIN)/pytest -n 2 tests/chaos

distributed: $(DISTRIBUTED)/.installed ## Lose a triggerer, a Celery worker and Redis; needs Debian's postgresql and redis-server
	@$(DISTRIBUTED)/bin/pytest tests/chaos/distributed

live: $(VENV)/.dev ## Ask the real service what is only assumed; needs SEGMIND_API_KEY, and pays for 4 images; CONFIRM=1 agrees
	@CONFIRM="$(CONFIRM)" $(BIN)/python -m tests.live

benchmarks: $(VENV)/.dev ## Measure DAG files, thousands of jobs in one event loop, a plan's limit, and a hundred in a real Airflow
	@$(BIN)/python -m benchmarks.imports
	@$(BIN)/python -m benchmarks.triggers
	@$(BIN)/python -m benchmarks.plan
	@$(BIN)/python -m benchmarks.airflow
	@$(BIN)/python -m benchmarks.batch
	@$(BIN)/python -m benchmarks.ends
	@$(BIN)/python -m benchmarks.many_processes
	@$(BIN)/python -m benchmarks.gallery
	@$(BIN)/python -m benchmarks.reuse

check: $(VENV)/.dev ## Lint, types, who may import whom, and that pytest can collect all tests at once
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest --collect-only -qqq

docs: $(VENV)/.dev ## Build the documentation into build/docs; a warning is an error
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -d build/doctrees docs build/docs

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

release: $(VENV)/.dev ## Make dist/ of what is committed, checked as an index would; PLACEHOLDERS=1 is a dry run
	@$(BIN)/python -m tests.release $(if $(PLACEHOLDERS),--placeholders-allowed)

release-url: $(VENV)/.dev ## Set the project's addresses: URL=https://github.com/owner/name, and DOCS=, OWNER= where they differ
	@$(BIN)/python -m tests.release.addresses "$(URL)" --docs "$(DOCS)" --owner "$(OWNER)"

changelog: $(VENV)/.dev ## Put the entries in changes/ into CHANGELOG.md, before a release
	@$(BIN)/python -m tests.release.fragments

forge: $(VENV)/.dev ## Check the workflows, forms and hooks
	@$(BIN)/nox --session forge

clean: ## Remove everything that was installed or made
	rm -rf $(VENV) $(DISTRIBUTED) node_modules .nox mutants .airflow demo-output build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing Airflow and the provider into $(VENV); this is done once ..."
	@$(PIP) --editable '.[sandbox]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing Airflow, the provider and the tools into $(VENV); this is done once ..."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(DISTRIBUTED)/.installed: $(DISTRIBUTED)/.python pyproject.toml constraints.txt
	@echo "Installing Airflow, Celery and the drivers into $(DISTRIBUTED); this is done once ..."
	@$(DISTRIBUTED)/bin/$(INSTALL) --editable '.[distributed]'
	@touch $@

%/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $*
	@touch $@

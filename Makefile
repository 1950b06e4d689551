# Needs only make and Python 3.11 or later: every target prepares .venv from requirements.lock by itself.
# Another interpreter beside it: make test VENV=.venv-3.13 PYTHON=python3.13
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
FIND_PYTHON := for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$candidate; exit 0; }; done; \
	echo "Python 3.11 or later is needed; name one with: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1

CORES := $(BIN)/python -c 'import os; print(1 + min(5, len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))))'

# Each process of the tests would rewrite their assertions anew where this forbids to keep them.
test slow e2e sweep: export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(READY): requirements.lock pyproject.toml
	@python=$$($(FIND_PYTHON)) && echo "Preparing $(VENV) with $$($$python --version) ..." && $$python -m venv --clear $(VENV)
	@echo "Installing the locked dependencies (about a minute and a half on two cores) ..."
	@# The lock is complete: nothing is resolved anew, whatever was released since. Bytecode is compiled on
	@# all cores; a file that a package keeps for another version of Python does not compile, and is never imported.
	@$(PIP) install --no-compile --no-deps --require-hashes -r requirements.lock
	@$(PIP) install --no-compile --no-deps --no-build-isolation -e .
	@$(PIP) check
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib nethical_assets || true
	@touch $@
	@echo "$(VENV) is ready."

.PHONY: setup
setup: $(READY) ## Prepare .venv and nothing else

.PHONY: run
run: $(READY) ## One full training cycle (arguments: make run ARGS="--force")
	@$(BIN)/nethical run $(ARGS)

.PHONY: ui
ui: $(READY) ## The Dagster UI with schedules and sensors running
	@$(BIN)/nethical ui $(ARGS)

.PHONY: test
test: $(READY) ## The test suite (without the slow and the end-to-end tests)
	@echo "Running the test suite ..."
	@# A test that waits for a process of its own leaves its core to another: one more than there are cores.
	@$(BIN)/python -m pytest -m "not e2e and not slow" -n $$($(CORES)) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: slow
slow: $(READY) ## The slow tests of the suite
	@echo "Running the slow tests ..."
	@$(BIN)/python -m pytest -m "slow and not e2e" -n $$($(CORES)) --dist worksteal $(ARGS)

.PHONY: e2e
e2e: $(READY) ## The end-to-end tests: real webserver, daemon, gateway, Kaggle client, Prometheus and browser
	@echo "Running the end-to-end tests ..."
	@$(BIN)/python -m pytest -m e2e $(ARGS)

.PHONY: sweep
sweep: $(READY) ## Everything that "make test" tries only samples of: a kill at every write, every variant (hours)
	@echo "Trying everything ..."
	@NETHICAL_SWEEP=all $(BIN)/python -m pytest $$(grep -rl "tests.sweeping" tests --include="test_*.py") -n 2 --dist worksteal $(ARGS)

.PHONY: lint
lint: $(READY) ## Check style, types and the directions of imports
	@echo "Checking style and types ..."
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: $(READY) ## Measure speed and memory (prints JSON)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: lock
lock: ## Write requirements.lock anew (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-emit-index-url --group dev pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## Remove .venv and caches (not the state under .nethical)
	rm -rf .venv .venv-* .pytest_cache .hypothesis .mypy_cache .ruff_cache

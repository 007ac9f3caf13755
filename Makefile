# Two commands for a newcomer: `make run` and `make test`. The others are for those who work on it.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
DATA_DIR ?= data

.PHONY: run demo setup setup-dev test check format bench lock clean help

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.runtime ## virtual environment from the hash-pinned lock file; then .venv/bin/router
setup-dev: $(VENV)/.dev

run: $(VENV)/.runtime ## set up and serve on 127.0.0.1:8080
	@exec $(BIN)/router serve --port $(PORT) --data-dir $(DATA_DIR)

demo: $(VENV)/.runtime ## a dozen telling tasks against the running service
	@$(BIN)/router demo --port $(PORT) --data-dir $(DATA_DIR)

test: $(VENV)/.dev ## set up and run the tests
	$(BIN)/python -m pytest

check: $(VENV)/.dev ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## CPU, throughput, start and memory, beside a pass-through floor
	$(BIN)/python -m tests.benchmarks.gateway

# The lock files name no registry; run with Python 3.11, whose resolution also installs on 3.12.
lock: $(VENV)/.dev
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@for p in "$(PYTHON)" python3 python3.12 python3.11; do \
	  if [ -n "$$p" ] && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	    echo "setting up $(VENV) with $$($$p --version)"; exec $$p -m venv $(VENV); fi; done; \
	echo "Python 3.11 or 3.12 is needed and was not found: install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing from requirements.lock (a minute or two the first time)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# Two commands for a newcomer: `make run` and `make test`. The others are for those who work on it.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
DATA_DIR ?= data
FUZZ_SECONDS ?= 60

.PHONY: run demo setup setup-dev test check format bench bench-finance fuzz mutants lock clean help
.NOTPARALLEL:

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.runtime ## virtual environment from the hash-pinned lock file; then .venv/bin/router
setup-dev: $(VENV)/.dev

run: $(VENV)/.runtime ## set up and serve on 127.0.0.1:8080
	@exec $(BIN)/router serve --port $(PORT) --data-dir $(DATA_DIR)

demo: $(VENV)/.runtime ## a dozen telling tasks against the running service
	@$(BIN)/router demo --port $(PORT) --data-dir $(DATA_DIR)

test: $(VENV)/.dev ## set up and run the tests (TESTS= names some of them)
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/.dev ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## CPU, throughput, start and memory, beside a pass-through floor
	@status=0; \
	MEASURE_CPU=1 $(BIN)/python -m pytest -q -m hostile tests/unit tests/fuzz || status=1; \
	for each in rules tools gateway; do $(BIN)/python -m tests.benchmarks.$$each || status=1; done; \
	exit $$status

bench-finance: $(VENV)/.dev ## month reports over ten million ledger lines, and that all sums of 200,000 requests are the same; takes minutes
	$(BIN)/python -m tests.benchmarks.finance

fuzz: $(VENV)/.dev ## look for inputs that break the decoders and readers of files (CHECK= names one; FUZZ_SECONDS= for each); needs atheris
	@$(BIN)/python -c 'import atheris' 2>/dev/null || { echo "atheris is not installed: $(BIN)/python -m pip install atheris" >&2; exit 1; }
	@for check in $(or $(CHECK),$$($(BIN)/python -c 'from tests.fuzz.invariants import CHECKS; print(*CHECKS)')); do \
	  echo "$$check: $(FUZZ_SECONDS) seconds" && $(BIN)/python -m tests.fuzz.fuzz_decoders $$check -max_total_time=$(FUZZ_SECONDS) -verbosity=0 || exit 1; done

mutants: $(VENV)/.dev ## take each label rule away in a copy, and see that a test fails (RULE= names one)
	$(BIN)/python -m tests.mutants.run $(RULE)

# The lock files name no registry; run with Python 3.11, whose resolution also installs on 3.12.
lock: $(VENV)/.dev
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The environment is made anew when it is half made, when its Python is gone, and when PYTHON names another.
SOUND := $(shell $(BIN)/python -c '' 2>/dev/null && { [ -z "$(PYTHON)" ] || [ "$(PYTHON)" = "$$(cat $(VENV)/.python)" ]; } && echo yes)
ifneq ($(SOUND),yes)
.PHONY: $(VENV)/.python
endif

# The pip that Python brings installs at half the speed of the pinned one.
$(VENV)/.python:
	@for python in $(or $(PYTHON),python3 python3.12 python3.11); do \
	  "$$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || continue; \
	  echo "setting up $(VENV) with $$("$$python" --version): half a minute to two minutes, once"; \
	  rm -f $@ && "$$python" -m venv --clear $(VENV) \
	  && sed -n '/^pip==/,/^    # via/p' requirements-dev.lock >$(VENV)/pip.lock \
	  && $(BIN)/python -m pip install -qq --require-hashes -r $(VENV)/pip.lock \
	  && echo "$$python" >$@; exit; done; \
	for python in $(or $(PYTHON),python3); do "$$python" --version 2>/dev/null | sed 's/$$/ cannot be used./' >&2; done; \
	echo "Python 3.11 or 3.12 with its venv module is needed: install it (Debian: python3-venv) or name it: make PYTHON=/path/to/python3.12" >&2; exit 1

# Bytecode (and what the detectors compile to) is made for what serving takes, not for all that is installed: that would take longer than the installation.
# requirements-dev.lock holds all that requirements.lock holds, so one installation does for both.
define install
@$(BIN)/python -m pip install -qq --no-compile --require-hashes -r $(1)
@$(BIN)/python -m pip install -qq --no-compile --no-deps --no-build-isolation -e .
@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import router.app, router.background, router.supervisor; from classifiers.assess import warm_up; warm_up()'
endef

$(VENV)/.runtime: requirements.lock pyproject.toml $(VENV)/.python
	$(call install,requirements.lock)
	@touch $@

$(VENV)/.dev: requirements-dev.lock requirements.lock pyproject.toml $(VENV)/.python
	$(call install,requirements-dev.lock)
	@touch $@ $(VENV)/.runtime

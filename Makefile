# dealmail: `make run` shows it, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := .uv/bin/uv

WORKERS ?= 2

# Only what is typed counts: a login sets MAIL to the spool of the machine's user.
MAIL =
OWNER =
CRM =
STORES = embedded
PREVIEW =
FILE = graph.svg

# Imports are compiled once and kept, whatever the surrounding shell says: the job starts several times as fast.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test quick lint types setup graph bench quality chaos storm fuzz lock clean

help: ## what there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

run: setup ## the job on sample mailboxes, or MAIL=path OWNER=me@mycorp.example CRM=crm.csv [STORES=servers] [PREVIEW=1]
	@$(BIN)/dealmail demo --stores "$(STORES)" $(if $(MAIL),--mail "$(MAIL)") $(if $(OWNER),--owner "$(OWNER)") $(if $(CRM),--crm "$(CRM)") $(if $(PREVIEW),--preview)

test: setup lint types ## linters, type checker and all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

quick: setup ## the tests that take seconds
	@$(BIN)/python -m pytest -m "not slow and not mariadb and not elasticsearch and not prism and not flink and not pubsub_emulator and not corpus"

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

graph: setup ## the graph as a picture: FILE=graph.svg (needs Graphviz), or FILE=graph.dot
	@$(BIN)/python -m dealmail.pipeline.draw "$(FILE)"

bench: setup ## speed, in ratios measured side by side in one run
	@$(BIN)/python -m benchmarks.run

quality: setup ## what the rules and the text reading reach on real mail
	@$(BIN)/python -m benchmarks.quality

chaos: setup ## 200 seeds of the fault scenarios (half an hour or more on two cores)
	@$(BIN)/python -m benchmarks.chaos --seeds 200

storm: setup ## 50 threads settle copies of 2,000 mails in random order, 20 seeds, on MariaDB (ten minutes)
	@$(BIN)/python -m benchmarks.settle_storm

fuzz: setup ## long fuzzing of everything that reads foreign bytes
	@$(BIN)/python -m benchmarks.fuzz

setup: $(READY) ## the virtual environment, from the lock

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "dealmail needs $(PYTHON) (3.11 to 3.13): install it, or say make PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 14)))' || { echo "dealmail needs Python 3.11 to 3.13, and $(PYTHON) is $$($(PYTHON) -V)"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "dealmail needs Python's venv module: install python3-venv"; exit 2; }
	@echo "setting up (once; a minute or two) ..."
	@$(PYTHON) -m venv .uv && .uv/bin/python -m pip install -q --disable-pip-version-check 'uv>=0.5' || { rm -rf .uv; echo "dealmail needs access to PyPI to set itself up"; exit 2; }

$(READY): requirements/lock.txt pyproject.toml setup.py | $(UV)
	@test -x $(BIN)/python || $(UV) venv -q --python $(PYTHON) $(VENV)
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements/lock.txt
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

COMPILE = $(UV) pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade

lock: $(UV) ## renew requirements/lock.txt from the ranges in pyproject.toml, and image.txt, the image's part of it
	@$(COMPILE) --extra dev -o requirements/lock.txt
	@$(COMPILE) -c requirements/lock.txt -o requirements/image.txt

clean: ## remove the environment and what runs left behind
	@rm -rf $(VENV) .uv build *.egg-info var .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Everything a developer or a user does, one word each. Needs Python 3.11, Node 20 and make; the rest is set up here.

PYTHON ?= python3
PYTHON312 ?= python3.12
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
CLIENTS := .clients
UI     := src/aether/api/ui/index.html
UI_SRC := $(shell find web -path web/node_modules -prune -o -type f -print)

.PHONY: run test lint types imports unit web-test web-rules e2e drill bench fuzz clients planted mutants audit docs schema ui lock clean help

help:            ## show this list
	@grep -hE '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

run: $(STAMPS)/runtime $(UI)  ## set everything up and start the platform (ARGS="--port 9000" to pass options)
	$(BIN)/aether up $(ARGS)

test: lint types imports web-test web-rules unit  ## set everything up and run every check that needs no browser

lint: $(STAMPS)/dev  ## style of the Python code
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

types: $(STAMPS)/dev  ## strict types
	$(BIN)/mypy

imports: $(STAMPS)/dev  ## the layers of the house
	$(BIN)/lint-imports

unit: $(STAMPS)/dev $(UI)  ## the Python tests
	$(BIN)/pytest -n 2 --dist worksteal

web-test: web/node_modules/.stamp  ## the UI: schema drift, types, tests
	cd web && npm run -s check && npm test --silent

web-rules: $(UI)  ## the UI: who imports whom, and the weight of its parts
	cd web && node rules.mjs

e2e: $(STAMPS)/dev $(UI)  ## the UI in a real browser; needs chromium (apt-get install chromium)
	$(BIN)/pytest -n 2 --dist loadfile tests/e2e

bench: $(STAMPS)/dev  ## how fast it is
	$(BIN)/python -m benchmarks

drill: $(STAMPS)/dev $(UI)  ## kill, freeze and fill the parts of a running desk (MINUTES=30; needs root, it mounts a small disk)
	$(BIN)/python -m tests.drill --minutes $(or $(MINUTES),30)

fuzz: $(STAMPS)/dev  ## a million damaged payloads, then a coverage-guided fuzzer, over every decoder
	$(BIN)/python -m tests.fuzz --inputs 1000000
	$(BIN)/python -m tests.fuzz.guided -runs=1000000 -seed=1 -max_len=4096 -verbosity=0 -print_final_stats=1

clients: $(STAMPS)/dev $(CLIENTS)/.stamp  ## NautilusTrader, unmodified, against the local exchange (needs Python 3.12: PYTHON312=...)
	$(BIN)/python -m tests.clients $(CLIENTS)/bin/python

planted: $(STAMPS)/dev  ## small faults, planted one by one: do the tests find them?
	$(BIN)/python -m tests.planted

mutants: $(STAMPS)/mutation  ## change the engine in 2,000 small ways: which changes does no test notice? (15 minutes)
	$(BIN)/python -m tests.mutants

audit: $(STAMPS)/dev web/node_modules/.stamp  ## vulnerabilities, licences, pins, list of parts (RELEASE=1: red when one could not run)
	$(BIN)/python -m tests.supply $(if $(RELEASE),--release)

docs: $(STAMPS)/dev  ## write the reference pages anew from the code
	$(BIN)/python -m aether.reference docs/reference
	$(BIN)/python -m tests.contract.ccxt_table docs/reference/ccxt.md

schema: $(STAMPS)/dev web/node_modules/.stamp  ## write the OpenAPI schema and the UI's client types anew
	$(BIN)/python -m aether.reference --openapi web/openapi.json
	cd web && npm run -s schema

ui: $(UI)  ## build the UI

lock:            ## pin all dependencies anew, with hashes (needs uv); what runs is what the tests ran with
	uv pip compile -q pyproject.toml requirements/build.in --extra dev --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements/dev.txt
	uv pip compile -q pyproject.toml requirements/build.in --extra embedded --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -c requirements/dev.txt -o requirements/runtime.txt
	uv pip compile -q pyproject.toml requirements/build.in --extra dev --extra mutation --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -c requirements/dev.txt -o requirements/mutation.txt
	uv pip compile -q requirements/clients.in --generate-hashes --python-version 3.12 \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements/clients.txt

clean:           ## remove everything that was set up
	rm -rf $(VENV) $(CLIENTS) web/node_modules src/aether/api/ui

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Aether needs Python 3.11 or newer; say which one with: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/runtime: $(BIN)/python requirements/runtime.txt pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: $(BIN)/python requirements/dev.txt pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p $(STAMPS) && touch $@ $(STAMPS)/runtime

$(CLIENTS)/.stamp: requirements/clients.txt
	$(PYTHON312) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/clients.txt
	@touch $@

$(STAMPS)/mutation: $(STAMPS)/dev requirements/mutation.txt
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/mutation.txt
	@touch $@

web/node_modules/.stamp: web/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || \
	  { echo "The web interface needs Node 20 or newer."; exit 1; }
	cd web && npm ci --silent
	@touch $@

$(UI): web/node_modules/.stamp $(UI_SRC)
	cd web && npm run -s build -- --logLevel error

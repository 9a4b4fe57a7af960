# Every target makes .venv itself from a bare Python >= 3.11.
PYTHON ?= python3
# The encoder of `make bench` and `make gpu-check`: a hub id or a local folder.
MODEL ?= hfl/chinese-macbert-base
DATA ?= prepared/fbs14
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: quickstart test test-all test-wheel test-light check fix translations bench gpu-check clean

quickstart: .venv/runtime
	rm -rf prepared/sample runs/quickstart
	$(BIN)/smstune prepare --config quickstart
	$(BIN)/smstune finetune quickstart
	$(BIN)/smstune predict runs/quickstart train/smstune/data/sample/examples.txt -
	$(BIN)/smstune eval runs/quickstart

# A process a core, and one thread of torch in each.
test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

test-all: .venv/dev
	$(BIN)/pytest -m ""

# The wheel in an empty environment, beside a file that hides a package called train.
test-wheel: .venv/bin/python
	rm -rf build/wheel
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install --quiet --disable-pip-version-check \
		-c constraints.txt "$$(echo build/wheel/smstune-*.whl)[train]"
	tests/try_wheel.sh build/wheel

# The wheel without torch, with a run that the checkout has trained.
test-light: .venv/dev
	rm -rf build/light
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/light .
	tests/try_light.sh build/light $(PYTHON)

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict train

fix: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# New texts of the code into the catalogue, where they wait for their translation; then the .mo.
translations: .venv/dev
	$(BIN)/python tests/translations.py

bench: .venv/dev
	$(BIN)/smstune benchmark train recipes/mean_pooling model.name_or_path=$(MODEL)

# What a GPU does here, beside the CPU, in nine minutes: runs/gpu-check/report.md. DATA is FBS-14, prepared.
gpu-check: .venv/runtime
	rm -rf runs/gpu-check
	$(BIN)/python -m smstune.benchmark.gpu_check $(DATA) $(MODEL) runs/gpu-check

clean:
	rm -rf .venv prepared/sample runs/quickstart

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[train]'
	touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/runtime

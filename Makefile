# Every target makes .venv itself from a bare Python >= 3.11.
PYTHON ?= python3
# The encoder of `make bench`: a hub id or a local folder.
MODEL ?= hfl/chinese-macbert-base
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: quickstart test test-all check fix bench clean

quickstart: .venv/runtime
	rm -rf prepared/sample runs/quickstart
	$(BIN)/python scripts/prepare.py train/smstune/data/sample/messages.csv \
		--labels configs/labels/sample.yaml --output prepared/sample
	$(BIN)/python scripts/finetune.py configs/quickstart.yaml
	$(BIN)/python scripts/predict.py runs/quickstart train/smstune/data/sample/examples.txt -
	$(BIN)/python scripts/eval.py runs/quickstart

test: .venv/dev
	$(BIN)/pytest

test-all: .venv/dev
	$(BIN)/pytest -m ""

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict train

fix: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev
	$(BIN)/python scripts/benchmark.py train configs/recipes/mean_pooling.yaml model.name_or_path=$(MODEL)

clean:
	rm -rf .venv prepared/sample runs/quickstart

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/runtime

# Everything one does here, from a fresh clone on. Each environment is made on first use and again only
# when the files it comes from change; its stamp file remembers.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-localstack install-lowest demo test lint types lowest bench reliability guards lock format clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

# uv lives apart from what it installs, so that `uv pip sync` may make an environment exactly its
# requirements file: nothing missing, nothing left over, every download checked against its hash.
UV := .venv-uv/bin/uv
UV_STAMP := .venv-uv/.stamp
SYNC := $(UV) pip sync --quiet --require-hashes
# --no-build-isolation: the build backend is among the pinned packages, so nothing unpinned is fetched.
SELF := $(UV) pip install --quiet --no-deps --no-build-isolation --editable .

help:
	@echo "make demo     two example DAGs against an S3 server under Airflow, and both ends compared"
	@echo "make test     the whole test suite"
	@echo "make lint | types | lowest | bench | reliability | guards | lock | format | clean"

install: .venv/.stamp
install-localstack: .localstack-venv/.stamp
install-lowest: .lowest-venv/.stamp

$(UV_STAMP): requirements/uv.txt
	@echo "installing uv"
	@$(PYTHON) -m venv --clear .venv-uv
	@.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.stamp: requirements/dev.txt pyproject.toml $(UV_STAMP)
	@echo "installing .venv"
	@[ -x .venv/bin/python ] || $(UV) venv --quiet --no-python-downloads --python $(PYTHON) .venv
	@$(SYNC) --python .venv requirements/dev.txt
	@$(SELF) --python .venv
	@touch $@

# LocalStack pins old versions of what the rest needs new.
.localstack-venv/.stamp: requirements/localstack.txt $(UV_STAMP)
	@echo "installing .localstack-venv"
	@[ -x .localstack-venv/bin/python ] || $(UV) venv --quiet --no-python-downloads --python $(PYTHON) .localstack-venv
	@$(SYNC) --python .localstack-venv requirements/localstack.txt
	@touch $@

.lowest-venv/.stamp: requirements/lowest.txt pyproject.toml $(UV_STAMP)
	@echo "installing .lowest-venv"
	@[ -x .lowest-venv/bin/python ] || $(UV) venv --quiet --no-python-downloads --python $(PYTHON) .lowest-venv
	@$(SYNC) --python .lowest-venv requirements/lowest.txt
	@$(SELF) --python .lowest-venv
	@touch $@

demo: .venv/.stamp
	@$(BIN)/python -m demo

# Most tests wait for something most of the time. A class, or the functions of a file, stay together.
PARALLEL := --numprocesses 4 --dist loadscope

# Airflow writes where it is imported; that must not be the user's own.
test: export AIRFLOW_HOME := $(CURDIR)/.cache/airflow
test: .venv/.stamp .localstack-venv/.stamp
	@$(BIN)/python -m pytest $(PARALLEL)

lint: .venv/.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: .venv/.stamp
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: .venv/.stamp
	@$(BIN)/mypy

# On the lowest version of every dependency: what touches Airflow, the unit tests, copies into each store, and
# the readers, since each libcurl signs in its own way.
lowest: export AIRFLOW_HOME := $(CURDIR)/.cache/airflow-lowest
lowest: .lowest-venv/.stamp .localstack-venv/.stamp
	@.lowest-venv/bin/python -m pytest $(PARALLEL) \
		tests/unit tests/contract/test_readers.py tests/functional/test_stores.py
	@.lowest-venv/bin/python -m pytest $(PARALLEL) -m airflow tests/functional tests/dags

bench: .venv/.stamp
	@$(BIN)/python -m benchmarks

# The figures of docs/reliability.md: 46 minutes on two cores of one's own.
reliability: export AIRFLOW_HOME := $(CURDIR)/.cache/airflow
reliability: .venv/.stamp .localstack-venv/.stamp
	@$(BIN)/python -m reliability

# Takes the guards of the product out, one by one.
guards: export AIRFLOW_HOME := $(CURDIR)/.cache/airflow
guards: .venv/.stamp .localstack-venv/.stamp
	@$(BIN)/python -m reliability guards
	@$(BIN)/python -m reliability report

# --universal: one file for every platform and Python. No index address, so it works behind any mirror.
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --upgrade

lock: $(UV_STAMP)
	@$(COMPILE) requirements/uv.in -o requirements/uv.txt
	@$(COMPILE) pyproject.toml requirements/dev.in -o requirements/dev.txt
	@$(COMPILE) --exclude-newer 2025-08-31 requirements/localstack.in -o requirements/localstack.txt
	@$(COMPILE) --exclude-newer 2025-10-15 --exclude-newer-package awscrt=2026-03-01 \
		--exclude-newer-package moto=2026-11-20 --exclude-newer-package py-partiql-parser=2026-11-20 \
		--resolution lowest-direct pyproject.toml requirements/lowest.in -o requirements/lowest.txt

clean:
	@rm -rf .venv .venv-uv .localstack-venv .lowest-venv .demo .cache .mypy_cache .pytest_cache .ruff_cache \
		.hypothesis build dist

# Two commands for a new machine: `make demo` runs the whole graph on the shipped world, `make test` the tests.
# Both make .venv first, from the versions that constraints.txt pins.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PYTHON ?= python3
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true

.PHONY: help setup demo check test test-slow clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.complete ## make the environment

# TORCH_INDEX names another package index for torch, for example one with CUDA builds; see README.
$(VENV)/.complete: pyproject.toml constraints.txt scripts/setup
	@PYTHON=$(PYTHON) scripts/setup $(VENV)

demo: setup ## run the whole graph on the shipped world and print the table
	dvc repro
	@lethe table

check: setup ## format, lint, types, import contracts
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-cache

test: setup ## the default tests: offline, on the CPU
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadgroup

test-slow: setup ## whole-pipeline runs and real servers
	OMP_NUM_THREADS=1 pytest -m slow -n 2 --dist loadfile

clean: ## remove the environment, never data
	rm -rf $(VENV)

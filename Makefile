# `make demo` and `make test` each start from a fresh clone; everything they need goes into .venv.
.DEFAULT_GOAL := help
.PHONY: help setup lint test test-fault demo bench bench-large package sbom clean
SHELL := /bin/bash
BIN := .venv/bin

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup:  ## install what is missing: Java, a compiler, .venv with pinned packages, Horovod (built once)
	@PYTHON="$(PYTHON)" scripts/setup.sh

lint: setup  ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup  ## all tests; FAST=1 leaves out those that take minutes
	$(BIN)/python -m pytest $(if $(FAST),-m "not slow")

test-fault: setup  ## the faults of docs/reliability.md alone, with 200 random sequences of crashes
	VASG_FAULT_SEQUENCES=200 $(BIN)/python -m pytest -m fault

demo: setup  ## the whole pipeline on generated data, with a results table, in runs/demo
	$(BIN)/python -m vasg.demo --out runs/demo-data
	$(BIN)/vasg run --config runs/demo-data/config.toml --root runs/demo --set train.workers=2
	$(BIN)/vasg report --root runs/demo
	$(BIN)/python -m vasg.demo.report --root runs/demo --data runs/demo-data

bench: setup  ## time the stages beside other implementations, at the size of Women; writes benchmarks/results.json
	$(BIN)/python -m benchmarks

bench-large: setup  ## the same with 100,000 users and 300,000 products: hours
	$(BIN)/python -m benchmarks --size large --rounds 1

package: setup  ## dist/: the wheel, vasg.zip for --py-files, and a tar of jobs/, spark_conf/ and examples/
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	cp dist/vasg-*.whl dist/vasg.zip
	tar -czf dist/vasg-jobs.tar.gz jobs spark_conf examples
	@ls -l dist

sbom: setup  ## dist/sbom.json: every package that is installed in .venv, as CycloneDX
	[ -x build/cyclonedx/bin/cyclonedx-py ] || $(BIN)/python -m venv build/cyclonedx
	build/cyclonedx/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	mkdir -p dist
	build/cyclonedx/bin/cyclonedx-py environment --output-reproducible --output-file dist/sbom.json .venv/bin/python

clean:  ## remove build products and tool caches; .venv and runs/ stay
	rm -rf build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache spark-warehouse metastore_db derby.log
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

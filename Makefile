# What people and CI type. Every target runs from a fresh clone; `make` alone lists them.

PYTHON ?= python3.11
ARGS ?=

VENV := .venv
INSTALLED := $(VENV)/.installed
PROTOC := build/protoc
LOCKER := build/lock
PROTO_FILES := $(wildcard protos/stopgap_protos/*.proto)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup system demo test lint format bench protos protos-check lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: system $(INSTALLED) ## Install what is needed: system packages (as root) and .venv, with .venv/bin/stopgap

demo: setup ## A contrib model that TensorFlow 2 refuses answers from a sandbox; ENGINE=docker make demo chooses its engine
	$(VENV)/bin/python tools/demo.py $(ARGS)

test: setup lint protos-check ## Lint, types and all tests; ARGS="-k name" for some, REQUIRE_ENGINES=docker to insist
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(INSTALLED) ## Style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(INSTALLED) ## Lay out the code as `make lint` wants it
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

bench: setup ## Measure: bare call, socket, front, eight callers
	$(VENV)/bin/python bench/run.py $(ARGS)

protos: $(PROTOC)/.installed ## Generate protos/stopgap_protos/*_pb2.py anew from the .proto files
	cd protos && ../$(PROTOC)/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. $(PROTO_FILES:protos/%=%)

protos-check: $(PROTOC)/.installed ## Check that the committed generated code is what the .proto files give
	@rm -rf build/protos && mkdir -p build/protos
	@cd protos && ../$(PROTOC)/bin/python -m grpc_tools.protoc -I . --python_out=../build/protos \
		--pyi_out=../build/protos $(PROTO_FILES:protos/%=%)
	@for file in build/protos/stopgap_protos/*; do \
		diff -u "protos/stopgap_protos/$${file##*/}" "$$file" || { echo "Type: make protos"; exit 1; }; \
	done

# UPGRADE=--upgrade takes newer versions; without it only what the .in files ask for changes.
COMPILE = $(LOCKER)/bin/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --python-version 3.11 --python-platform x86_64-manylinux_2_31 $(UPGRADE)

lock: $(LOCKER)/.installed ## Lock every dependency by hash; UPGRADE=--upgrade for newer versions
	$(COMPILE) pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/orchestrator.txt
	$(COMPILE) requirements/runtime.in -c requirements/dev.txt -o images/runtime/requirements.txt
	$(COMPILE) requirements/front.in -o images/front/requirements.txt
	$(COMPILE) requirements/protoc.in -o requirements/protoc.txt
	$(COMPILE) requirements/lock.in -o requirements/lock.txt

clean: ## Remove build/, .venv and caches; fetched bundles and built images stay
	rm -rf build dist $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find orchestrator images protos tests tools bench -name __pycache__ -prune -exec rm -rf {} +

system:
	@PYTHON="$(PYTHON)" bash tools/system_packages.sh

# The stamps: a second `make setup` does nothing until a lock changes. No build isolation, so that the build backend
# comes by hash as well.
$(INSTALLED): requirements/dev.txt pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

build/%/.installed: requirements/%.txt
	$(PYTHON) -m venv --clear build/$*
	build/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# What people and CI type. Every target runs from a fresh clone; `make` alone lists them.

PYTHON ?= python3.11
ARGS ?=

VENV := .venv
INSTALLED := $(VENV)/.installed
PROTOC := build/protoc
LOCKER := build/lock
LONG := --timeout 3600 -o faulthandler_timeout=0
PROTO_FILES := $(wildcard protos/stopgap_protos/*.proto)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup system tools demo demo-ab test test-all test-hostile test-chaos test-ab test-hand-over fuzz lint format bench performance dist docs protos protos-check lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: system $(INSTALLED) ## Install what is needed: an engine (as root) and .venv, with .venv/bin/stopgap

demo: setup ## A contrib model that TensorFlow 2 refuses answers from a sandbox; ENGINE=bubblewrap make demo chooses its engine
	$(VENV)/bin/python -m tools.demo $(ARGS)

demo-ab: setup ## The whole hand-over: a successor is trained, shadowed, given a share, promoted; the sandbox is retired
	$(VENV)/bin/python -m tools.demo_ab $(ARGS)

test: tools setup lint protos-check ## Lint, types, tests but those that take long; ARGS="-k name" for some, REQUIRE_ENGINES=docker and REQUIRE_PYTHONS=3.9 to insist
	$(VENV)/bin/python -m $(if $(ARGS),pytest $(ARGS),tools.lanes)

test-all: tools setup lint protos-check ## The same with what takes longer, and all hostile models: what CI runs
	THOROUGH=all HOSTILE=all $(VENV)/bin/python -m tools.lanes

fuzz: $(INSTALLED) ## Look for inputs that break a decoder, guided by coverage; ARGS="--seconds 3600 json grpc" for longer, for some
	PYTHONPATH=images/runtime $(VENV)/bin/python -m tests.fuzz run $(ARGS)

test-hostile: tools setup ## All hostile models and requests, on every wall that is here; make test tries the core set
	HOSTILE=all $(VENV)/bin/python -m pytest tests/hostile $(ARGS)

test-chaos: tools setup ## Five minutes of faults under load, on every engine that is here; make test has 40 seconds
	CHAOS_SECONDS=300 $(VENV)/bin/python -m pytest $(LONG) -s tests/chaos $(ARGS)

test-ab: tools setup ## Whole comparisons of 5000 requests each, against the verdicts of tests/comparison/ab_table.toml
	AB=all $(VENV)/bin/python -m pytest $(LONG) tests/comparison $(ARGS)

test-hand-over: tools setup ## A name swapped 100 times under load, and 50 kills; make test has 10 and 4
	SWAPS=100 KILLS=50 $(VENV)/bin/python -m pytest $(LONG) tests/engines/test_hand_over.py $(ARGS)

lint: $(INSTALLED) ## Style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(INSTALLED) ## Lay out the code as `make lint` wants it
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

bench: tools setup ## Measure: bare call, socket, front, callers, copies, memory, starts; bounds missed are a failure
	$(VENV)/bin/python bench/run.py $(ARGS)

performance: $(INSTALLED) ## Write docs/performance.md and its picture from the latest run of make bench
	$(VENV)/bin/python tools/performance_page.py

dist: $(INSTALLED) ## Build the sdist, and from it the wheel, into dist/
	$(VENV)/bin/python -m build --no-isolation --outdir dist .

docs: $(INSTALLED) ## Write the generated pages in docs/ anew from the code
	PYTHONPATH=images/runtime $(VENV)/bin/python -m tools.pages

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
COMPILE_FOR = $(LOCKER)/bin/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --python-platform x86_64-manylinux_2_31 $(UPGRADE) --python-version
COMPILE = $(COMPILE_FOR) 3.11

lock: $(LOCKER)/.installed ## Lock every dependency by hash; UPGRADE=--upgrade for newer versions
	$(COMPILE) pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/orchestrator.txt
	$(COMPILE) requirements/runtime.in -c requirements/dev.txt -o images/runtime/requirements.txt
	$(COMPILE) requirements/front.in -o images/front/requirements.txt
	$(COMPILE) requirements/protoc.in -o requirements/protoc.txt
	$(COMPILE) requirements/lock.in -o requirements/lock.txt
	$(COMPILE_FOR) 3.7 requirements/handwritten_py37.in -o requirements/handwritten_py37.txt
	$(COMPILE_FOR) 3.9 --resolution lowest-direct pyproject.toml requirements/pythons.in -o requirements/python3.9.txt
	$(COMPILE_FOR) 3.10 pyproject.toml requirements/pythons.in requirements/python3.10.in -o requirements/python3.10.txt
	$(COMPILE_FOR) 3.12 pyproject.toml requirements/pythons.in requirements/python3.12.in -o requirements/python3.12.txt
	$(COMPILE_FOR) 3.13 pyproject.toml requirements/pythons.in -o requirements/python3.13.txt

clean: ## Remove build/, .venv and caches; fetched bundles and built images stay
	rm -rf build dist $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find orchestrator images protos tests tools bench -name __pycache__ -prune -exec rm -rf {} +

system:
	@PYTHON="$(PYTHON)" bash tools/system_packages.sh use

tools:
	@PYTHON="$(PYTHON)" bash tools/system_packages.sh develop
	@bash tools/register_runsc.sh

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

# cdesk: `make demo` shows it, `make test` proves it; each does all of its own set-up in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := .build
DIST   := dist
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md \
	$(shell find rust python sql -type f -not -name '*.pyc' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test proof lint bench bench-peers wheel build clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMPS)/installed ## Build, install into .venv and show the whole thing working
	$(BIN)/cdesk demo

test: lint ## Build, lint and run every fast test (Rust and Python)
	cargo test --workspace --quiet
	$(BIN)/python -m pytest -q -rfEs -n auto --dist worksteal

HISTORIES ?= 100000

proof: $(STAMPS)/installed ## Run the slow proofs: 100,000 crash histories, 120,000 orders of threads for each of eight programs, two minutes of accidents, a 1 GB import, …
	CDESK_HISTORIES=$(HISTORIES) cargo test --release --package cdesk-core --test crash -- --nocapture
	PROPTEST_CASES=3000 cargo test --release --package cdesk-core --test model --test bytes
	cargo package --package cdesk-core --allow-dirty --quiet # complete, and builds by itself
	RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --release --package cdesk-core --test interleavings
	EXAMPLES_TIMES=5 $(BIN)/python -m pytest -q -rfEs -m 'hypothesis and not proof and not slow' --timeout 900 -n auto --dist worksteal
	$(BIN)/python -m pytest -q -rfEs -m 'slow and not proof' -n auto --dist worksteal
	$(BIN)/python -m pytest -q -rfEs -m proof --timeout 900

lint: $(STAMPS)/installed ## Check format, types, stubs, imports and house rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo clippy --package cdesk-core --lib --quiet -- -D warnings # the log alone, without its features
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	$(BIN)/ruff check python tests benches
	$(BIN)/ruff format --check python tests benches
	MYPYPATH=python $(BIN)/mypy
	$(BIN)/python -m mypy.stubtest cdesk_core --ignore-disjoint-bases
	$(BIN)/lint-imports --no-cache

bench: $(STAMPS)/installed ## Time every tool over stdio beside its service level, the warehouse while it grows to ten million events, and the core
	$(BIN)/python benches/python/tools_over_stdio.py
	PYTHONPATH=benches/python $(BIN)/python benches/python/beside_work.py
	PYTHONPATH=benches/python $(BIN)/python benches/python/growth.py
	$(BIN)/python -m pytest -q -c benches/python/pytest.ini benches/python --benchmark-columns=min,median,ops
	cargo bench --workspace --quiet

bench-peers: $(STAMPS)/bench ## Time the core beside its peers, with a bar for each figure (ARGS=--quick)
	PYTHONPATH=benches/python $(BIN)/python -m peers $(ARGS)

wheel: $(STAMPS)/venv ## Build the wheel and the sdist into dist/
	rm -rf $(DIST)
	$(BIN)/maturin build --release --sdist --quiet --out $(DIST)

build: $(STAMPS)/installed ## Build the wheel and install it into .venv

clean: ## Remove what was built
	rm -rf $(VENV) $(STAMPS) dist target

$(STAMPS)/venv: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "cdesk needs Python 3.11 or later: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/installed: $(STAMPS)/venv $(SOURCES)
	rm -rf $(STAMPS)/wheel
	$(BIN)/maturin build --release --quiet --out $(STAMPS)/wheel
	$(BIN)/python -m pip install --quiet $(STAMPS)/wheel/*.whl
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps $(STAMPS)/wheel/*.whl
	@touch $@

$(STAMPS)/bench: $(STAMPS)/installed
	PYTHONPATH=benches/python $(BIN)/python -m peers.install
	@touch $@

# Everything runs in .venv, which is made and filled when a target needs it. `make help` lists the targets.
# PYTHON= says which Python makes it; pyproject.toml says which is the first that will do.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || command -v python)
VENV := .venv
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(SCRIPTS)
PEERS := .venv-benchmark/$(SCRIPTS)
# Kernels and tests take sums in one order: one thread, unless the caller sets another number.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export PYTHONWARNINGS :=
# What the caller sets reaches the programs as it is, in their environment: neither make nor the shell reads into it.
GIVEN := CHAPTER SETTING NUMBER NAME TITLE INDEX DATA SIZE FASHION DEVICE
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

.DEFAULT_GOAL := help
.PHONY: help install book serve pdf lab slides notebooks notebooks-zip test lint test-library test-notebooks test-site test-slow test-faults fuzz test-matrix new-chapter release-check test-the-tests browser benchmark benchmark-zeros benchmark-finding-shared benchmark-growl benchmark-growl-table benchmark-growl-deeper benchmark-sharing benchmark-distributed mutation clean

help: ## this list
	@echo "Shared Weights: make book | make test | and more:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python was found; use make PYTHON=/path/to/python"; exit 1; }
	@echo "==> installing into $(VENV) (once: a minute or two, 2 GB)"
	@$(PYTHON) tools/make_venv.py $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

# what only tests need: other people's tools
$(VENV)/.installed-test: requirements-test.txt $(VENV)/.installed
	@echo "==> installing what the library is tried with (once: a minute, 500 MB)"
	@$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-test.txt
	@touch $@

install: $(VENV)/.installed ## make .venv and install what the book was verified with

book: $(VENV)/.installed ## render the book from the stored outputs
	@$(BIN)/python tools/build_book.py

serve: book ## read the book at a local address
	@$(BIN)/python tools/serve_book.py

pdf: book browser ## the whole book as one PDF
	@$(BIN)/python tools/make_pdf.py

notebooks-zip: $(VENV)/.installed ## one file with all that a reader needs to run everything
	@$(BIN)/python tools/zip_notebooks.py

lab: $(VENV)/.installed ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab $$(test "$$(id -u)" != 0 || echo --allow-root) book

slides: $(VENV)/.installed ## chapters as slides in _build/slides: all, or CHAPTER=01
	@$(BIN)/python tools/make_slides.py $$CHAPTER

notebooks: $(VENV)/.installed ## re-run chapters in place: all, or CHAPTER=01; FRESH=1 stores new timings too
	@$(BIN)/python tools/run_notebooks.py $(if $(FRESH),--fresh) $$CHAPTER

test: lint test-library test-notebooks test-site test-the-tests ## everything that must hold
	@echo "==> all tests passed"

lint: $(VENV)/.installed ## style and types
	@echo "==> ruff, mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test-library: $(VENV)/.installed-test ## tyinglib: tests and the examples in its docstrings
	@echo "==> the library, its docstrings, the tools, and the library in other people's"
	@MPLBACKEND=agg $(BIN)/python -m pytest -q -n 2 tests/library tests/strangers tests/reports tests/book tests/tools tests/fuzz tests/faults tyinglib --doctest-modules --cov=tyinglib --cov-fail-under=95 --cov-report=term:skip-covered

test-notebooks: $(VENV)/.installed ## run every cell again and compare its output; hold chapters to their rules
	@echo "==> the rules for chapters"
	@$(BIN)/python -m pytest -q tests/chapters
	@echo "==> every cell of every chapter, run again (about a minute a chapter)"
	@$(BIN)/python -m pytest -q -p no:warnings -n 2 --dist loadfile --nbval --nbval-sanitize-with tests/sanitize.cfg --durations 3 book

test-site: book browser ## the built pages, in a real browser
	@echo "==> the built pages"
	@$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile tests/site

test-slow: $(VENV)/.installed ## the chapters' headline comparisons again, with other seeds (minutes)
	@echo "==> other seeds, the same verdicts"
	@$(BIN)/python -m pytest -q -m slow tests/slow

test-faults: $(VENV)/.installed ## kill writers 200 times, fill the disk, write at once: files stay whole (a minute)
	@found=$$($(BIN)/python tests/faults/writers.py 200) && echo "$$found" | tee benchmarks/results/faults.json

fuzz: $(VENV)/.installed ## 100,000 strange files for load_tied, and as many inputs for each prox (half an hour)
	@$(BIN)/python -m pip install --disable-pip-version-check -q atheris==3.0.0
	@$(BIN)/python tests/fuzz/explore.py 100000 benchmarks/results/fuzz.json
	@FUZZ=100000 FUZZ_RESULTS=benchmarks/results/fuzz_prox.json $(BIN)/python -m pytest -q -o faulthandler_timeout=0 tests/fuzz/test_prox.py

test-matrix: $(VENV)/.installed ## every chapter in ten settings, compared strictly (an hour, and gigabytes; goes on where it stopped); SETTING= CHAPTER= FRESH=1
	@$(BIN)/python tools/test_matrix.py --setting "$$SETTING" --chapter "$$CHAPTER" $(if $(FRESH),--fresh)

new-chapter: $(VENV)/.installed ## a chapter to fill in: NUMBER=12 NAME=my-question TITLE="My question"
	@$(BIN)/python tools/new_chapter.py $(if $(TITLE),--title="$$TITLE") -- "$$NUMBER" "$$NAME"

release-check: $(VENV)/.installed ## build wheel and archive, try both in an empty environment (a quarter of an hour); INDEX=url for torch
	@$(BIN)/python -m pip install --disable-pip-version-check -q build==1.6.1
	@$(BIN)/python tools/check_release.py $(if $(INDEX),--index-url "$$INDEX")

benchmark-distributed: $(VENV)/.installed ## bytes that processes exchange in a step; the page Beyond one machine prints them
	@$(BIN)/python benchmarks/fully_sharded.py

test-the-tests: $(VENV)/.installed ## break the book in a copy, in several ways; a check must notice each
	@echo "==> breaking a copy of the book on purpose"
	@$(BIN)/python tools/test_the_tests.py

.venv-benchmark/.installed: requirements-benchmark.txt pyproject.toml
	@$(PYTHON) tools/make_venv.py .venv-benchmark
	@$(PEERS)/python -m pip install --disable-pip-version-check -r requirements-benchmark.txt
	@touch $@

benchmark: .venv-benchmark/.installed ## measure the library beside its peers (some minutes); FRESH=1 measures all again
	@$(PEERS)/python benchmarks/run.py $(if $(FRESH),--fresh)

benchmark-zeros: $(VENV)/.installed ## measure what zeros buy in time (a minute); chapter 5 draws the result
	@$(BIN)/python benchmarks/zeros.py

benchmark-finding-shared: $(VENV)/.installed-test ## how long it takes to look for shared weights, beside others (a minute); How fast prints it
	@$(BIN)/python benchmarks/finding_shared.py

benchmark-growl: $(VENV)/.installed ## GrOWL on MNIST beside its baselines (hours; goes on where it stopped); DATA=folder SIZE=small FRESH=1
	@$(BIN)/python -m benchmarks.growl_mnist $(if $(DATA),--data "$$DATA") $(if $(SIZE),--size "$$SIZE") $(if $(FRESH),--fresh)

benchmark-growl-table: $(VENV)/.installed ## the published GrOWL table at its full length (ten minutes a run, days in all; goes on where it stopped); DATA=folder DEVICE=cuda
	@$(BIN)/python -m benchmarks.growl $(if $(DATA),--data "$$DATA") $(if $(DEVICE),--device "$$DEVICE")

benchmark-growl-deeper: $(VENV)/.installed ## GrOWL on two layers and on channels (half an hour; goes on where it stopped); DATA=folder of MNIST, FASHION=folder
	@$(BIN)/python benchmarks/growl_deeper.py $(if $(DATA),--mnist "$$DATA") $(if $(FASHION),--fashion "$$FASHION") $(if $(FRESH),--fresh)

benchmark-sharing: $(VENV)/.installed ## the longer runs of chapters 9 to 11 (they go on where they stopped); FRESH=1
	@for part in benchmarks/sharing_*.py; do $(BIN)/python $$part $(if $(FRESH),--fresh) || exit 1; done

mutation: $(VENV)/.installed ## change the library in 1600 small ways; its tests must notice (half an hour; tests/MUTANTS.md)
	@$(BIN)/python -m pip install --disable-pip-version-check -q mutmut==3.8.1
	@MPLBACKEND=agg $(BIN)/python -m mutmut run

browser:
	@sh tools/find_browser.sh --install >/dev/null || echo "no browser found: the tests that need one will be skipped"

clean: ## remove the built book and caches, keep .venv
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage mutants
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

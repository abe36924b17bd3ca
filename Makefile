# The book's commands. GNU make 3.81 or later, a POSIX shell and Python 3.11 or later are all they
# need; README.md has the same steps in plain pip, jupyter-book and pytest.

PYTHON ?= python3
PORT ?= 8000

BIN := .venv/bin
SITE := _build/html
BENCH := .venv-bench
TINY := $(BIN)/pytest -q --tiny-tiles $(wildcard tests/test_softmax_loss*.py tests/test_sigmoid_loss*.py)
BUILD := $(BIN)/jupyter-book build . --all -W -n --keep-going -q

# One thread and fixed hashing: with these a notebook prints the same bytes on every run.
export PYTHONHASHSEED := 0
export OMP_NUM_THREADS := 1

# $(call step,NAME,COMMAND) prints a heading and names the step if it fails.
step = @printf '\n== %s\n' '$(1)'; $(2) || { printf '\nStopped: "%s" failed.\n' '$(1)' >&2; exit 1; }

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book serve test notebooks bench clean
.PHONY: environment lint types workflows unit tiles outputs site site-checks

help: ## list these commands
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' Makefile | \
		while IFS='|' read -r name text; do printf 'make %-11s %s\n' "$$name" "$$text"; done

book: environment site ## make .venv, build the site from a clean tree and print where it is
	@printf '\nThe book is in %s\n' '$(CURDIR)/$(SITE)'
	@printf 'Open   file://%s\n' '$(CURDIR)/$(SITE)/index.html'
	@printf 'or     make serve, which serves it on http://localhost:%s\n' '$(PORT)'

serve: $(SITE)/index.html ## serve the site on http://localhost:8000 (PORT=8001 for another port)
	@printf 'Serving the book on http://localhost:%s (Ctrl+C stops it)\n' '$(PORT)'
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(SITE)

test: environment lint types workflows unit tiles outputs site site-checks ## check everything: code, numbers, site
	@printf '\nAll checks passed.\n'

notebooks: environment ## run every notebook again and store what it prints
	$(call step,Notebooks: execute in place,$(BIN)/python .ci/execute_notebooks.py)

bench: $(BENCH)/made ## measure speed and memory beside PyTorch, SciPy, scikit-learn and JAX
	$(call step,Benchmark,$(BENCH)/bin/python tests/benchmarks/run.py $(BENCH_OPTIONS))

# Beside .venv, which holds what is pinned in requirements.txt and nothing else.
$(BENCH)/made: requirements.txt tests/benchmarks/requirements.txt
	rm -rf $(BENCH)
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt \
		-r tests/benchmarks/requirements.txt
	touch $@

clean: ## remove the environment, the site and all caches
	rm -rf .venv $(BENCH) _build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find book cebook tests .ci -name __pycache__ -prune -exec rm -rf {} +

# The steps, in the order of `make test`.

environment:
	@sh .ci/environment.sh '$(PYTHON)'

lint: environment
	$(call step,Lint: ruff check,$(BIN)/ruff check .)
	$(call step,Lint: ruff format,$(BIN)/ruff format --check .)

types: environment
	$(call step,Types: mypy,$(BIN)/mypy)

workflows: environment
	$(call step,Workflows: check-jsonschema,sh .ci/check_workflows.sh)

unit: environment
	$(call step,Unit tests and doctests: pytest,$(BIN)/pytest cebook tests --ignore=tests/site)

# Parts II and III once more, every array cut into thirds, on as many threads as stated.
tiles: environment
	$(call step,Tiny tiles: pytest with 1 thread,CEBOOK_NUM_THREADS=1 $(TINY))
	$(call step,Tiny tiles: pytest with 2 threads,CEBOOK_NUM_THREADS=2 $(TINY))
	$(call step,Tiny tiles: pytest with 5 threads,CEBOOK_NUM_THREADS=5 $(TINY))

outputs: environment
	$(call step,Notebook outputs: nbval,$(BIN)/pytest book)

# An incremental build hides the warnings of pages it does not read again.
site: environment
	@rm -rf _build
	$(call step,Site: jupyter-book with warnings as errors,$(BUILD))

site-checks: site
	$(call step,Site checks: pytest,$(BIN)/pytest tests/site)

$(SITE)/index.html:
	@$(MAKE) book

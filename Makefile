# `make` alone explains the targets. Everything runs in .venv, made from tested pins on first use;
# ENV=active uses the Python that is active instead (conda, uv, a container).

PYTHON ?= python3
TORCH ?= cpu
CHAPTER ?=
PART ?=
ROWS ?=
ENV ?= .venv
WORKERS ?= 2
LAB ?=
WATCH ?=
STRICT ?=
YES ?=

ifeq ($(ENV),active)
PY := python
SETUP := @true
else
PY := .venv/bin/python
SETUP := @$(PYTHON) tools/setup.py --torch $(TORCH)
endif

# The files that a learner writes are neither linted nor formatted; their pristine copies in labs/.stubs are.
LEARNERS = $(shell ls -d labs/lab[0-9][0-9]_* | sed -E 's,labs/lab[0-9]+_(.*),&/\1.py,' | paste -sd, -)
RUFF = $(PY) -m ruff
NEEDS_LAB = $(if $(LAB),,$(error say which lab, as in: make $@ LAB=03))

NBVAL := --nbval --nbval-sanitize-with tests/nbval.cfg --nbval-cell-timeout 600
SLOWEST := --durations 15 --durations-min 5

.DEFAULT_GOAL := help
.PHONY: help setup book execute sync experiments models test check lint format bench lab clean
.PHONY: labs lab-hint lab-solution lab-reset

help:
	@echo "Happy-LLM from Scratch"
	@echo
	@echo "  make book                    render the book; prints where to open it (sets everything up first)"
	@echo "  make labs [LAB=03]           grade your solutions of the labs; WATCH=1: again on each save"
	@echo "  make test                    prove everything: lint, types, unit tests, every chapter, the browser"
	@echo "  make check [PART=model]      the short loop: tests of what has changed, or of a folder of tests/; lint"
	@echo
	@echo "  make setup [TORCH=cpu]       make .venv from the tested pins; TORCH=cpu|cuda|installed, PYTHON=python3.12"
	@echo "  make lab                     open JupyterLab on the chapters"
	@echo "  make lab-hint LAB=03         the next hint (LAB=03.name: for that function)"
	@echo "  make lab-solution LAB=03     show the package's source that solves it, after asking"
	@echo "  make lab-reset LAB=03        begin a lab again, after asking; keeps a backup"
	@echo "  make execute [CHAPTER=01]    run chapters from the top and store their outputs; stops at a failing cell"
	@echo "  make sync                    take edited chapter text over into the notebooks, outputs kept"
	@echo "  make experiments [CHAPTER=]  run the long experiments and record them in chapters/results"
	@echo "  make models                  retrain the reference models and check them"
	@echo "  make lint                    ruff (rules, layout), pyright and the chapters' pairs"
	@echo "  make format                  lay out code and the chapters' cells, 88 columns"
	@echo "  make bench [ROWS=bpe]        time ours against the peers, write benchmarks/results.json"
	@echo "  make clean                   remove build/ and caches (.venv stays)"
	@echo
	@echo "  SCALE=gpu make execute       the same chapters at GPU size, into build/gpu"
	@echo "  ENV=active make ...          use the active Python instead of .venv (conda, uv)"

setup:
	$(SETUP)

book: setup
	@$(PY) tools/nb.py run --missing
	@$(PY) tools/book.py

execute: setup
	@$(PY) tools/nb.py run $(CHAPTER)

sync: setup
	@$(PY) tools/nb.py sync $(CHAPTER)

experiments: setup
	@$(PY) tools/experiments.py $(CHAPTER)

models: setup
	@$(PY) tools/models.py

test: lint
	@echo "== unit tests, and the book in a browser"
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(SLOWEST) tests
	@echo "== every chapter, compared with its stored outputs"
	@$(PY) -m pytest $(NBVAL) -n $(WORKERS) --dist loadfile $(SLOWEST) chapters

check: setup
	@$(PY) tools/check.py --workers $(WORKERS) $(PART)
	@$(MAKE) --no-print-directory lint

# Cells of chapters are linted for what a reader sees: names that are not used, long lines.
lint: setup
	@echo "== ruff, pyright, chapter pairs"
	@$(RUFF) check . --extend-exclude "$(LEARNERS)"
	@$(RUFF) check --select E501,F401 chapters/*.ipynb
	@$(RUFF) format --check . chapters/*.ipynb --extend-exclude "$(LEARNERS)"
	@$(PY) -m pyright
	@$(PY) tools/nb.py check
	@test -z "$(HAPPYLLM_PRISTINE_LABS)" || $(PY) tools/labs.py check

format: setup
	@$(RUFF) format . --extend-exclude "$(LEARNERS)"
	@$(PY) tools/nb.py format

lab: setup
	@$(PY) -m jupyter lab --ServerApp.ip=127.0.0.1 chapters

labs: setup
	@$(PY) -m happyllm_support lab grade $(LAB) $(if $(WATCH),--watch) $(if $(STRICT),--strict)

lab-hint:
	@$(NEEDS_LAB)
	$(SETUP)
	@$(PY) -m happyllm_support lab hint $(LAB)

lab-solution:
	@$(NEEDS_LAB)
	$(SETUP)
	@$(PY) -m happyllm_support lab solution $(LAB) $(if $(YES),--yes)

lab-reset:
	@$(NEEDS_LAB)
	$(SETUP)
	@$(PY) -m happyllm_support lab reset $(LAB) $(if $(YES),--yes)

bench: setup
	@$(PY) -m benchmarks $(ROWS)

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Everything runs in .venv; torch goes first and alone, so that the CPU build is taken where one is offered.
# pip compiles nothing: of some 13,000 files a quarter is ever imported, and Python compiles a file when it is first used.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
PIP := PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --no-compile --progress-bar off
# Of what pip says: each package with its number, downloads of 10 MB and more, and when it begins to unpack.
SHOW := { n=0; while read -r what name rest; do case "$$what $$name $$rest" in \
	"Collecting "*|"Processing "*) n=$$((n + 1)); echo "  $$n: $${name\#\#*/}" ;; \
	"Downloading "*\([0-9][0-9]*.*\ MB*|"Downloading "*GB*) echo "     $${rest%%)*}) is downloaded" ;; \
	"Installing collected "*) echo "  unpacking them into .venv (a minute or more)" ;; esac; done; }

.PHONY: setup demo check test bench clean

setup: $(READY)

$(READY): requirements-torch.txt requirements.txt pyproject.toml
	@echo "setup, 1 of 4: a Python environment in .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	@echo "setup, 2 of 4: torch and what it needs (its CPU build has about 200 MB, a GPU build 3 GB: some minutes)"
	@$(PIP) -r requirements-torch.txt | $(SHOW)
	@echo "setup, 3 of 4: the other packages, $$(grep -c '==' requirements.txt) with torch's"
	@$(PIP) -r requirements.txt | $(SHOW)
	@echo "setup, 4 of 4: fusionchat itself, imported once (half a minute)"
	@$(PIP) -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -c "import accelerate, matplotlib.pyplot, numba, fusionchat.stages.pipeline, fusionchat.distill.trainer, fusionchat.merge.stream.merge"
	@touch $(READY)
	@echo "setup: done. Next: make demo, or $(BIN)/fusionchat --help"

demo: $(READY)
	$(BIN)/fusionchat demo

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# An empty value lets Python keep what it has compiled: every process of every test would compile it again.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadscope

bench: $(READY)
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.align
	$(BIN)/python -m benchmarks.merge

clean:
	rm -rf .venv build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info

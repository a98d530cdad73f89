# Two commands on a fresh machine (Python 3.11 to 3.13 and make): `make quickstart`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
# torch's CPU build serves where pip is set up with one; uv looks in the same places.
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
# So that rules find this environment's python, git hooks or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: quickstart fill test test-faults test-slurm check format install clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[workflow,dev]'
	touch $@

quickstart: install
	snakemake --cores all quickstart

# Cells that were not run, for HOURS on one core behind all other work: `make fill HOURS=2`, then look into logs/fill.log.
HOURS ?= 1
fill: install
	mkdir -p logs
	OMP_NUM_THREADS=1 nohup nice -n 19 sh -c 'snakemake --cores 1 --keep-going data; python -m fedgrid fill $(HOURS)' > logs/fill.log 2>&1 &

PYTEST := pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder --ignore tests/slurm

test: install
	$(PYTEST) -m "not fault"

# Processes killed, servers that go, names that attack: what takes longer.
test-faults: install
	$(PYTEST) -m fault

# A cluster of its own on this machine, and faults in it: as root, with Debian's packages that .ci/run installs.
test-slurm: install
	pytest tests/slurm

check: install
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

format: install
	ruff check --fix-only .
	ruff format .
	snakefmt Snakefile workflow

clean:
	rm -rf .venv .snakemake logs

# Two commands do everything on a machine with Python 3.11+ and make:
#   make demo   train, export, score and sample on a small data set; ends with a report
#   make test   style, types, import contracts and all tests
# Others:
#   make web    after make demo: its models in a browser, on a page that needs npm once
#   make verify the graphs of every family in every runtime that installs: OpenVINO, browsers, …; VERIFY=--all
#   make bench  every claim about speed as a ratio of two things side by side; BENCH="--only int8", BENCH=--quick
#   make chaos  jobs are killed and their storage fails, at random, for an hour or more; CHAOS="--only score --scale 0.1"
#   make cluster  train, export, score and sample on two Ray nodes of this machine, one of which dies
#   make fuzz   half an hour of made-up images, tables, names, bundles and recipes; FUZZ="--minutes 60 --seed 1"
#   make docs   the generated parts of docs/: options, modules
#   make lint, make lock, make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo web test verify bench chaos cluster fuzz docs lint lock clean

demo: $(READY)
	$(BIN)/vae demo

# Needs npm once, for ONNX Runtime Web.
web:
	@test -f demo/web/serve.py || { echo "There is no demo/web yet: run make demo first"; exit 2; }
	$(PYTHON) demo/web/serve.py

# Most tests use one core; those with a Ray cluster of their own run one after another.
test: lint
	$(BIN)/python -m pytest -m "not ray" --numprocesses 2 --dist loadfile
	$(BIN)/python -m pytest -m ray

verify: $(READY)
	$(BIN)/python deploy/verify/run.py $(VERIFY)

bench: $(READY)
	$(BIN)/python -m benchmarks.run $(BENCH)

chaos: $(READY)
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(BIN)/python -m faults.chaos $(CHAOS)

cluster: $(READY)
	$(BIN)/python deploy/acceptance.py

fuzz: $(READY)
	$(BIN)/python tests/faults/fuzz.py $(FUZZ)

docs: $(READY)
	$(BIN)/python docs/generate.py

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	# Compile once: otherwise each Ray process would compile its imports, which takes about twenty seconds.
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)

# The newest compatible versions, for every platform; without download URLs.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --python-version 3.11 \
		--extra train --extra gpu --extra cluster --extra dev pyproject.toml --upgrade --output-file requirements.lock
	# The same versions, and the detectors that the study of outlier scores compares with.
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --python-version 3.11 \
		--extra benchmarks --constraint requirements.lock pyproject.toml --output-file benchmarks/requirements.lock

clean:
	rm -rf $(VENV) .verify build demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

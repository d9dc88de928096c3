# One target a stage; `make demo` and `make test` set up what is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

CONFIG ?= configs/digits.toml
RUN ?= runs/$(basename $(notdir $(CONFIG)))
RUNNER ?= in-process
SEED ?=
SEEDS ?=
ARGS ?=
ITERATION ?=
AWE = $(BIN)/awe
FLAGS = --config=$(CONFIG) --run=$(RUN) --runner=$(RUNNER) $(if $(SEED),--run.seed=$(SEED)) $(ARGS)
T = $(if $(ITERATION),--iteration=$(ITERATION))

.PHONY: setup demo test lint run ingest train embed affinity annotate evaluate clean

setup: $(READY)

$(READY): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

demo: $(READY)
	$(AWE) run --config=configs/digits.toml --run=runs/demo --seeds=0,1,2

# Two processes, a file of tests to one of them: most tests use one core.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

run: $(READY)
	$(AWE) $@ $(FLAGS) $(if $(SEEDS),--seeds=$(SEEDS))

ingest: $(READY)
	$(AWE) $@ $(FLAGS)

train embed affinity annotate evaluate: $(READY)
	$(AWE) $@ $(FLAGS) $(T)

# A peer lives in an environment of its own, outside the clone: its numpy is not ours.
PEERS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/affinity-weighted-embedding/peers
LIGHTFM := $(PEERS)/lightfm
KNN := $(PEERS)/knn

.PHONY: bench-trainer
bench-trainer: $(READY) $(LIGHTFM)/.ready
	$(BIN)/python -m benchmarks.trainer --lightfm=$(LIGHTFM)/bin/python $(ARGS)

$(LIGHTFM)/.ready: benchmarks/requirements-lightfm.txt
	$(PYTHON) -m venv --clear $(LIGHTFM)
	$(LIGHTFM)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	$(LIGHTFM)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation lightfm==1.17
	touch $@

.PHONY: bench-join
bench-join: $(READY) $(KNN)/.ready
	$(BIN)/python -m benchmarks.join --peers=$(KNN)/bin/python $(ARGS)

$(KNN)/.ready: benchmarks/requirements-knn.txt
	$(PYTHON) -m venv --clear $(KNN)
	$(KNN)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

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
FLAGS = --config=$(CONFIG) --run=$(RUN) --runner=$(RUNNER) $(FLINK_FLAGS) $(if $(SEED),--run.seed=$(SEED)) $(ARGS)
T = $(if $(ITERATION),--iteration=$(ITERATION))

BUDGET ?= 10

.PHONY: setup demo test lint run tune tables ingest train embed affinity annotate evaluate report clean

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

# Settings by validation alone, in a run directory of its own: BUDGET minutes.
tune: RUN = runs/tune-$(basename $(notdir $(CONFIG)))
tune: $(READY)
	$(AWE) $@ $(FLAGS) --budget=$(BUDGET) $(if $(SEEDS),--seeds=$(SEEDS))

# docs/results.md from the runs that docs/tables.toml names.
tables: $(READY)
	$(BIN)/python -m benchmarks.tables

ingest: $(READY)
	$(AWE) $@ $(FLAGS)

train embed affinity annotate evaluate: $(READY)
	$(AWE) $@ $(FLAGS) $(T)

report: $(READY)
	$(AWE) $@ --run=$(RUN)

# Flink for this machine: Beam's job server with Flink's runtime inside, and Beam's boot program for Python workers.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/affinity-weighted-embedding
FLINK := $(CACHE)/flink
FLINK_JAR := $(FLINK)/flink-job-server.jar
# The same file; from here Beam does not send it to the cluster, which has it (deploy/flink/cluster.py).
FLINK_KEPT_JAR := $(FLINK)/gradle/wrapper/flink-job-server.jar
FLINK_CLUSTER := runs/flink-cluster
FLINK_PORT ?= 8081
FLINK_TASK_MANAGERS ?= 2
ifeq ($(RUNNER),flink)
FLINK_FLAGS ?= --job_endpoint=localhost:$(shell echo $$(($(FLINK_PORT) + 2))) --parallelism=$(FLINK_TASK_MANAGERS) \
	--environment_type=PROCESS --environment_config='{"command": "$(FLINK)/container"}'
endif

.PHONY: flink flink-cluster flink-stop test-flink test-flink-here test-store

flink: $(FLINK_KEPT_JAR) $(FLINK)/container

$(FLINK_JAR): deploy/flink/pom.xml
	mkdir -p $(FLINK)
	mvn --quiet --batch-mode --file $< -Dbuilt=$(FLINK)/build package
	mv $(FLINK)/build/flink-job-server.jar $@

$(FLINK_KEPT_JAR): $(FLINK_JAR)
	mkdir -p $(@D)
	ln -f $< $@

$(FLINK)/container:
	GOBIN=$(FLINK) go install github.com/apache/beam/sdks/v2/python/container@v2.77.0

flink-cluster: $(READY) flink
	$(BIN)/python deploy/flink/cluster.py start $(FLINK_CLUSTER) --jar=$(FLINK_KEPT_JAR) \
		--port=$(FLINK_PORT) --task-managers=$(FLINK_TASK_MANAGERS)

flink-stop: $(READY)
	$(BIN)/python deploy/flink/cluster.py stop $(FLINK_CLUSTER)

test-flink: $(READY) flink
	AWE_FLINK=$(FLINK) $(BIN)/python -m pytest tests/deploy

# Of those tests one stage on a cluster, for .ci/run: where the cluster can be built. Elsewhere a line says what is missing.
FLINK_TEST := tests/deploy/test_flink.py::test_shards_do_not_change_a_byte_on_the_cluster[3]

test-flink-here: $(READY)
	@for tool in java mvn go; do \
		command -v $$tool >/dev/null || { echo "Flink tests left out: $$tool is not installed"; exit 0; }; \
	done; \
	timeout 300 $(MAKE) flink >/dev/null 2>&1 || { echo "Flink tests left out: \`make flink\` fails here"; exit 0; }; \
	AWE_FLINK=$(FLINK) $(BIN)/python -m pytest "$(FLINK_TEST)"

MINIO := $(CACHE)/minio/minio

$(MINIO):
	GOBIN=$(dir $@) go install github.com/minio/minio@latest

test-store: $(READY) flink $(MINIO)
	AWE_FLINK=$(FLINK) AWE_MINIO=$(MINIO) $(BIN)/python -m pytest tests/deploy/test_object_store.py

# Beam for Google's cloud brings a hundred packages of its own: they stay out of the clone's environment.
GCS := $(CACHE)/fake-gcs

.PHONY: test-dataflow
test-dataflow: $(GCS)/venv/.ready $(GCS)/fake-gcs-server
	AWE_FAKE_GCS=$(GCS)/fake-gcs-server $(GCS)/venv/bin/python -m pytest tests/deploy/test_dataflow.py \
		tests/deploy/test_metadata.py

$(GCS)/venv/.ready: setup.py
	$(PYTHON) -m venv $(GCS)/venv
	$(GCS)/venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test,gcp]"
	touch $@

$(GCS)/fake-gcs-server:
	GOBIN=$(GCS) go install github.com/fsouza/fake-gcs-server@latest

# With numba the trainer and the join choose compiled kernels by themselves: the clone's environment is a plain user's.
COMPILED := $(CACHE)/compiled

.PHONY: test-compiled
test-compiled: $(COMPILED)/.ready
	$(COMPILED)/bin/python -m pytest --numprocesses=2 --dist=loadfile tests/awe_core \
		tests/end_to_end/test_training_interrupted.py

$(COMPILED)/.ready: setup.py
	$(PYTHON) -m venv --clear $(COMPILED)
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test,fast]"
	touch $@

PRISM := $(CACHE)/prism

.PHONY: test-prism
test-prism: $(READY) $(PRISM)/prism
	AWE_PRISM=$(PRISM)/prism $(BIN)/python -m pytest tests/deploy -k prism

$(PRISM)/prism:
	GOBIN=$(PRISM) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0

# A peer lives in an environment of its own, outside the clone: its numpy is not ours.
PEERS := $(CACHE)/peers
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

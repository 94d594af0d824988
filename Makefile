# make build        create the virtual environment .venv with the command kafka-cy
# make run          start a broker on 127.0.0.1:9092 (make run ARGS="my.properties --override num.partitions=3")
# make stack        start a broker with ZooKeeper, Prometheus, Alertmanager and a demo load (docker-compose.yml without docker);
#                   with ARGS=--cluster three brokers and three ZooKeepers (docker-compose.cluster.yml)
# make test         run the linters, the type checker and the tests
# make fuzz         send wrong requests, records and SASL messages to a build with the address sanitizer (FUZZ_SECONDS=120)
# make races        test shared memory with the thread sanitizer (PYTEST_ARGS="-k image")
# make crashes      kill a broker before each step of each change, and cut the power between any two (POWER_LOSS_SEED=1)
# make simulate     run 1,000 seeded simulations of a cluster with faults (SEEDS=1000)
# make clients      log in with every client, every SASL mechanism, in plaintext and over TLS (`make test` runs a part)
# make cluster      clusters of kafka-cy and of Apache Kafka 3.9 with ZooKeeper, whose brokers are killed
# make histories    check 1,000 seeded histories of transactions for anomalies (HISTORY_COUNT=1000, from HISTORY_FIRST=0 on)
# make faults       check 200 histories in clusters whose brokers, ZooKeeper and connections fail (FAULT_ROUNDS=200)
# make exactly-once Kafka's message copier, Streams, Connect and Flink at exactly once, killed again and again (KILLS=20)
# make conformance  run Apache Kafka's own integration tests (ARGS="--tests '^producer '"); see docs/conformance.md
# make bench        measure speed and scaling, compared with Apache Kafka, in under five minutes; results in build/bench
# make bench-full   the same with longer runs, in an hour; results in bench/results, summarized in bench/RESULTS.md
# make docs         build the website of the documentation in build/site
# make bench-beside quiet clients beside busy neighbours, and the longest steps of assignments (BESIDE_SECONDS=8 a row)
# make bench-micro  compare records, indexes and the log with the obvious alternatives
# make clean-root   try pip and make in a fresh Debian, as root (needs debootstrap)
# make wheels       build manylinux wheels in dist (PYTHONS="python3.11 python3.13")

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PYTHONS ?= $(VENV)/bin/python
ARGS ?=
PYTEST_ARGS ?=
# Processes that share the tests, by file. Most tests wait for brokers and clients: two of them leave two cores half idle.
PYTEST_WORKERS ?= $(shell expr $$(nproc) + 1)
FUZZ_SECONDS ?= 120
POWER_LOSS_SEED ?= 1
HISTORY_COUNT ?= 1000
HISTORY_FIRST ?= 0
FAULT_ROUNDS ?= 200
FAULT_MIXES ?= ours
SEEDS ?= 1000
KILLS ?= 20
BESIDE_SECONDS ?= 8

BENCH := $(VENV)/bin/kafka-cy bench

.PHONY: build run test lint pytest test-tools fuzz races crashes histories faults simulate clients cluster exactly-once conformance bench bench-full bench-beside bench-results bench-micro wheel wheels clean-root clean

build:
	@scripts/build.sh "$(PYTHON)" "$(VENV)"

run: build
	@exec $(VENV)/bin/kafka-cy server $(ARGS)

.PHONY: docs
docs:
	@scripts/docs.sh "$(PYTHON)"

.PHONY: stack
stack: build
	@scripts/install-stack-tools.sh
	@exec $(VENV)/bin/python scripts/stack.py $(ARGS)

test: lint test-tools pytest

lint: build-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check --diff kafka_cy/tools kafka_cy/testing tests/interop
	$(VENV)/bin/mypy
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint kafka_cy

.PHONY: build-test
build-test:
	@scripts/build.sh "$(PYTHON)" "$(VENV)" test

test-tools: build-test
	@scripts/install-test-tools.sh

pytest: build-test
	$(VENV)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

fuzz: build-test
	@scripts/fuzz.sh "$(VENV)" "$(FUZZ_SECONDS)"

races: build-test
	@scripts/races.sh "$(VENV)" $(PYTEST_ARGS)

crashes: build-test
	CRASH_STEPS=all POWER_LOSS_MOMENTS=0 POWER_LOSS_SEED="$(POWER_LOSS_SEED)" $(VENV)/bin/python -m pytest -n $(PYTEST_WORKERS) \
		--timeout 3600 tests/adversity/test_crash_steps.py tests/adversity/test_power_loss.py $(PYTEST_ARGS)

histories: build-test
	HISTORY_FIRST="$(HISTORY_FIRST)" HISTORY_COUNT="$(HISTORY_COUNT)" $(VENV)/bin/python -m pytest tests/histories $(PYTEST_ARGS)

faults: build-test
	@scripts/install-kafka.sh
	FAULT_ROUNDS="$(FAULT_ROUNDS)" FAULT_MIXES="$(FAULT_MIXES)" $(VENV)/bin/python -m pytest -v \
		tests/histories/test_cluster_histories.py $(PYTEST_ARGS)

simulate: build-test
	KAFKACY_SIMULATOR_SEEDS="$(SEEDS)" $(VENV)/bin/python -m pytest -n auto tests/cluster/test_simulator.py $(PYTEST_ARGS)

# CI: a client that is missing is a failure.
clients: test-tools
	CI=1 CLIENT_MATRIX=1 $(VENV)/bin/python -m pytest -v tests/interop/test_client_matrix.py $(PYTEST_ARGS)

cluster: build-test
	@scripts/install-kafka.sh
	CLUSTER_TESTS=1 $(VENV)/bin/python -m pytest tests/cluster/test_member.py \
		$$(grep -rl --include='test_*.py' CLUSTER_TESTS tests | sort) $(PYTEST_ARGS)

exactly-once: build-test
	@scripts/install-kafka.sh flink
	EXACTLY_ONCE_KILLS="$(KILLS)" $(VENV)/bin/python -m pytest tests/interop/test_java_exactly_once.py \
		tests/interop/test_connect.py tests/interop/test_streams_joins.py tests/interop/test_flink.py $(PYTEST_ARGS)

conformance: build-test
	@scripts/install-kafka.sh
	@$(VENV)/bin/python tests/conformance/run.py $(ARGS)

bench: build
	@scripts/install-kafka.sh
	@scripts/bench.sh "$(VENV)" quick

bench-full: build
	@scripts/install-kafka.sh
	@scripts/bench.sh "$(VENV)" full
	@$(MAKE) --no-print-directory bench-beside

bench-beside: build
	@mkdir -p build/bench
	set -o pipefail; $(VENV)/bin/python bench/assignment_steps.py | tee build/bench/assignment_steps.txt
	set -o pipefail; $(VENV)/bin/python bench/beside.py $(BESIDE_SECONDS) | tee build/bench/beside.txt

bench-results: build
	$(VENV)/bin/python -m kafka_cy.bench.report_text bench/results/*.json >bench/RESULTS.md.new
	mv bench/RESULTS.md.new bench/RESULTS.md

bench-micro: build-test
	$(VENV)/bin/python -m pytest bench/micro -q --benchmark-only --benchmark-group-by=group --benchmark-sort=mean \
		--benchmark-columns=median,mean,stddev,rounds --benchmark-warmup=on --benchmark-max-time=0.4 $(PYTEST_ARGS)

wheel wheels: build
	@scripts/build_wheels.sh dist $(PYTHONS)

clean-root:
	@scripts/clean-root.sh $(ARGS)

clean:
	rm -rf build dist data .ruff_cache .mypy_cache .pytest_cache
	find kafka_cy -name '*.so' -delete

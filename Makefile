# make build        create the virtual environment .venv with the command kafka-cy
# make run          start a broker on 127.0.0.1:9092 (make run ARGS="my.properties --override num.partitions=3")
# make stack        start a broker with ZooKeeper, Prometheus, Alertmanager and a demo load (docker-compose.yml without docker)
# make test         run the linters, the type checker and the tests
# make fuzz         test the decoders with the address sanitizer (FUZZ_SECONDS=120)
# make races        test shared memory with the thread sanitizer (PYTEST_ARGS="-k image")
# make conformance  run Apache Kafka's own integration tests (ARGS="--tests '^producer '"); see docs/conformance.md
# make bench        measure speed and scaling, compared with Apache Kafka, in under five minutes; results in build/bench
# make bench-full   the same with longer runs, in half an hour; results in bench/results, summarized in bench/RESULTS.md
# make docs         build the website of the documentation in build/site
# make bench-micro  compare records, indexes and the log with the obvious alternatives
# make wheels       build manylinux wheels in dist (PYTHONS="python3.11 python3.13")

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PYTHONS ?= $(VENV)/bin/python
ARGS ?=
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 120

BENCH := $(VENV)/bin/kafka-cy bench

.PHONY: build run test lint pytest test-tools fuzz races conformance bench bench-full bench-results bench-micro wheel wheels clean

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
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

fuzz: build-test
	@scripts/fuzz.sh "$(VENV)" "$(FUZZ_SECONDS)"

races: build-test
	@scripts/races.sh "$(VENV)" $(PYTEST_ARGS)

conformance: build-test
	@scripts/install-kafka.sh
	@$(VENV)/bin/python tests/conformance/run.py $(ARGS)

bench: build
	@scripts/install-kafka.sh
	@scripts/bench.sh "$(VENV)" quick

bench-full: build
	@scripts/install-kafka.sh
	@scripts/bench.sh "$(VENV)" full

bench-results: build
	$(VENV)/bin/python -m kafka_cy.bench.report_text bench/results/*.json >bench/RESULTS.md.new
	mv bench/RESULTS.md.new bench/RESULTS.md

bench-micro: build-test
	$(VENV)/bin/python -m pytest bench/micro -q --benchmark-only --benchmark-group-by=group --benchmark-sort=mean \
		--benchmark-columns=median,mean,stddev,rounds --benchmark-warmup=on --benchmark-max-time=0.4 $(PYTEST_ARGS)

wheel wheels: build
	@scripts/build_wheels.sh dist $(PYTHONS)

clean:
	rm -rf build dist data .ruff_cache .mypy_cache .pytest_cache
	find kafka_cy -name '*.so' -delete

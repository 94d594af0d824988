"""pytest fixtures: `kafka_broker` (one broker per session), `fresh_kafka_broker` and `kafka_topic` (one per test).

Override the fixture `kafka_broker_config` (a mapping of Kafka's keys) to change the configuration of both brokers. The
report of a failed test shows the end of the log of each broker that is one of its fixtures.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kafka_cy.testing.broker import Broker

LOG_LINES_SHOWN = 50
TOPIC_TIMEOUT_S = 30.0


@pytest.fixture(scope="session")
def kafka_broker_config() -> Mapping[str, object]:
    """Keys of `server.properties` for `kafka_broker` and `fresh_kafka_broker`; empty unless overridden."""
    return {}


@pytest.fixture(scope="session")
def kafka_broker(kafka_broker_config: Mapping[str, object]) -> Iterator[Broker]:
    """A running broker for all tests. Clients connect to `kafka_broker.bootstrap_servers`."""
    from kafka_cy.testing.broker import Broker

    with Broker(kafka_broker_config) as broker:
        yield broker


@pytest.fixture
def fresh_kafka_broker(kafka_broker_config: Mapping[str, object]) -> Iterator[Broker]:
    """A running broker for this test alone: it is empty, and the test may kill it."""
    from kafka_cy.testing.broker import Broker

    with Broker(kafka_broker_config) as broker:
        yield broker


@pytest.fixture
def kafka_topic(kafka_broker: Broker, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a new, empty topic on `kafka_broker`, with the broker's default of partitions. It is deleted afterwards."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap_servers, "log_level": 0})
    name = f"{re.sub('[^a-zA-Z0-9._-]', '-', request.node.name)[:80]}-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, num_partitions=-1, replication_factor=-1)])[name].result(TOPIC_TIMEOUT_S)
    yield name
    if kafka_broker.process is not None:
        admin.delete_topics([name])[name].exception(TOPIC_TIMEOUT_S)  # the test may have deleted it itself


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Add the end of the brokers' logs to the report of a failed test."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    module = sys.modules.get("kafka_cy.testing.broker")
    if not report.failed or module is None:
        return
    for name, value in getattr(item, "funcargs", {}).items():
        if isinstance(value, module.Broker):
            lines = value.log_text().splitlines()
            report.sections.append((f"log of {name}", "\n".join(lines[-LOG_LINES_SHOWN:])))

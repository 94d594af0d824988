"""Apache Kafka for tests that measure it."""

from __future__ import annotations

import shutil
from pathlib import Path

from foreign_tools import require

from kafka_cy.bench.brokers import BrokerError, kafka_jars


def needed_jars() -> Path:
    """The folder of Kafka's jars. Skips the test, or fails in CI, if they or java are missing."""
    require(shutil.which("java"), "java")
    try:
        return kafka_jars(None)
    except BrokerError:
        require(None, "Apache Kafka's jars")
        raise

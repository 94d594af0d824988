"""The pytest fixture `kafka_broker`: one broker per session, in its own process.

Override the fixture `kafka_broker_config` (a mapping of Kafka's keys) to change its configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kafka_cy.testing.broker import Broker


@pytest.fixture(scope="session")
def kafka_broker_config() -> Mapping[str, object]:
    """Keys of `server.properties` for `kafka_broker`; empty unless overridden."""
    return {}


@pytest.fixture(scope="session")
def kafka_broker(kafka_broker_config: Mapping[str, object]) -> Iterator[Broker]:
    """A running broker. Clients connect to `kafka_broker.bootstrap_servers`."""
    from kafka_cy.testing.broker import Broker

    with Broker(kafka_broker_config) as broker:
        yield broker

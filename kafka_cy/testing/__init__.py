"""A broker for tests: `Broker` and the pytest fixture `kafka_broker`."""

from __future__ import annotations

from kafka_cy.testing.broker import Broker, BrokerStartError

__all__ = ["Broker", "BrokerStartError"]

"""kafka-cy: a Kafka broker in Python and Cython.

`with kafka_cy.Broker() as broker:` runs one in a process of its own; see `kafka_cy.testing.broker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_cy.testing.broker import Broker as Broker

__all__ = ["Broker", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported at first use: the server's start path must not pay for them.
    if name == "Broker":
        from kafka_cy.testing.broker import Broker

        return Broker
    if name == "__version__":
        from kafka_cy.version import VERSION

        return VERSION
    raise AttributeError(f"module 'kafka_cy' has no attribute {name!r}")

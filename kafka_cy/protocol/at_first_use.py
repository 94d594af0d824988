"""The interface to Kafka's messages, imported at its first use: a start does without it.

An import statement in a function does the same, and costs each request that passes it about three microseconds.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def bridge() -> Any:
    """The module kafka_cy.protocol.bridge. Any thread."""
    from kafka_cy.protocol import bridge as module

    return module

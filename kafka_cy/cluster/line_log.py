"""What the parts of a cluster say to the operator: the broker's log as they see it."""

from __future__ import annotations

from typing import Any, Protocol


class LineLog(Protocol):
    """One line per event, on any Python thread (kafka_cy.server.log.BrokerLog)."""

    def info(self, what: str, **details: Any) -> None:
        """Something that an operator may want to know."""

    def warning(self, what: str, **details: Any) -> None:
        """Something that an operator should look at."""

    def error(self, what: str, **details: Any) -> None:
        """Something that does not work."""

    def repeated(self, level: str, what: str, details: dict[str, Any]) -> None:
        """Something that may happen again and again: one line at once, then one a minute."""

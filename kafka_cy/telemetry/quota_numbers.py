"""Numbers of client quotas, as the broker gives them to the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kafka_cy.network.client_quotas import SensorReading


class QuotaNumbers(NamedTuple):
    """`entities`: with quotas. `sensors`: of all clients; `readings`: of those that came last. `dropped`: made room for others."""

    entities: int = 0
    sensors: int = 0
    dropped: int = 0
    readings: Sequence[SensorReading] = ()

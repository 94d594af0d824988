"""What the replica manager tells telemetry. The start path imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class ReplicationNumbers(NamedTuple):
    """Of a member of a cluster; the defaults are those of a broker by itself."""

    isr_shrinks: int = 0
    isr_expands: int = 0
    failed_isr_updates: int = 0
    reassigning: int = 0  # led partitions
    max_lag: int = 0  # messages, of a followed partition behind its leader's high watermark
    failed_partitions: int = 0  # not fetched before the controller tells of them again
    fetches: Mapping[int, int] = {}  # requests by the number of the fetcher
    waiting_roles: int = 0  # of replicas without logs, whose topics have no settings that can be understood
    unknown_settings: int = 0  # topics whose settings are malformed or may not be read, and never could
    logins_failed: int = 0  # with SASL, to other brokers
    credentials_failed: int = 0  # tokens and tickets for them

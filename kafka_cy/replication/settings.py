"""What replication takes from the configuration, and the versions of its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kafka_cy.protocol.inter_broker_version import InterBrokerVersion

# inter.broker.protocol.version from which on -> version of the request (MetadataVersion). Nothing is negotiated between brokers.
_FETCH = (
    ((3, 9, 0), 17), ((3, 7, 4), 16), ((3, 5, 1), 15), ((3, 5, 0), 14), ((3, 1, 0), 13), ((2, 7, 1), 12), ((2, 6, 0), 11),
)  # fmt: skip
FETCH_BY_NAME_MAX = 12  # the last version that names topics
_LIST_OFFSETS = (((3, 9, 0), 9), ((3, 5, 0), 8), ((3, 0, 1), 7), ((2, 8, 0), 6), ((2, 6, 0), 5))
_EPOCH_END = (((2, 8, 0), 4), ((2, 6, 0), 3))


class RequestVersions(NamedTuple):
    """Versions of the requests of a follower to its leader."""

    fetch: int
    list_offsets: int
    offset_for_leader_epoch: int


def request_versions(inter_broker_protocol_version: str) -> RequestVersions:
    """For a version such as "3.9" or "2.8-IV1". Raises ValueError: malformed, or older than 2.6."""
    given = InterBrokerVersion.parse(inter_broker_protocol_version)
    found = []
    for table in (_FETCH, _LIST_OFFSETS, _EPOCH_END):
        versions = [version for since, version in table if given >= since]
        if not versions:
            raise ValueError(f"inter.broker.protocol.version={inter_broker_protocol_version} is older than 2.6")
        found.append(versions[0])
    return RequestVersions(*found)


class ReplicationSettings(NamedTuple):
    """The keys of replication, with Kafka's defaults."""

    broker_id: int
    versions: RequestVersions
    num_replica_fetchers: int = 1
    lag_time_max_ms: int = 30_000
    fetch_wait_max_ms: int = 500
    fetch_min_bytes: int = 1
    fetch_max_bytes: int = 1_048_576
    fetch_response_max_bytes: int = 10_485_760
    fetch_backoff_ms: int = 1_000
    socket_timeout_ms: int = 30_000


def settings_from(value: Callable[[str], Any], broker_id: int) -> ReplicationSettings:
    """Read the keys with `value(key)`. Raises ValueError."""
    return ReplicationSettings(
        broker_id,
        request_versions(str(value("inter.broker.protocol.version"))),
        int(value("num.replica.fetchers")),
        int(value("replica.lag.time.max.ms")),
        int(value("replica.fetch.wait.max.ms")),
        int(value("replica.fetch.min.bytes")),
        int(value("replica.fetch.max.bytes")),
        int(value("replica.fetch.response.max.bytes")),
        int(value("replica.fetch.backoff.ms")),
        int(value("replica.socket.timeout.ms")),
    )

from typing import Any

from kafka_cy.replication.fetcher_events import FetcherEvents
from kafka_cy.storage.hosted_partition import HostedPartition

class ReplicaFetcher:
    def __init__(
        self,
        events: FetcherEvents,
        number: int,
        host: str,
        port: int,
        *,
        client_id: str,
        broker_id: int,
        broker_epoch: int = -1,
        version: int = 17,
        transport: Any = None,
        wait_max_ms: int = 500,
        bytes_min: int = 1,
        response_bytes_max: int = 10485760,
        partition_bytes_max: int = 1048576,
        backoff_ms: int = 1000,
        timeout_ms: int = 30000,
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def follow(self, partition: HostedPartition, leader_epoch: int) -> None: ...
    def leave(self, partition: HostedPartition) -> None: ...
    def set_broker_epoch(self, broker_epoch: int) -> None: ...
    @property
    def failure(self) -> str: ...
    def counts(self) -> tuple[int, int, int, int]: ...

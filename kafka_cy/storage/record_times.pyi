from collections.abc import Iterable

from kafka_cy.storage.hosted_partition import HostedPartition

class RecordTimes:
    def find(self, wanted: Iterable[tuple[HostedPartition, int]], budget_s: float) -> list[int | None]: ...

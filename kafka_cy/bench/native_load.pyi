from collections.abc import Sequence

from kafka_cy.bench.histogram import LatencyHistogram
from kafka_cy.bench.requests import RequestHead

_Address = tuple[str, int]

class NativeLoad:
    def __init__(
        self,
        *,
        duration_s: float,
        warm_up_s: float = 0.0,
        rate_per_s: float = 0.0,
        requests_max: int = 0,
        records_max: int = 0,
        drain_timeout_s: float = 10.0,
        response_timeout_s: float = 30.0,
        end_to_end: bool = False,
    ) -> None: ...
    def add_produce(
        self,
        address: _Address,
        topic: str,
        partitions: Sequence[int],
        bodies: Sequence[bytes],
        *,
        records: int,
        depth: int = 1,
        acks: int = 1,
        timeout_ms: int = 30000,
        producer: tuple[int, int] | None = None,
    ) -> None: ...
    def add_fetch(
        self,
        address: _Address,
        topic: str,
        partition: int,
        *,
        first_offset: int,
        max_bytes: int,
        min_bytes: int = 1,
        max_wait_ms: int = 500,
        tail: bool = False,
    ) -> None: ...
    def add_end_to_end(
        self,
        address: _Address,
        topic: str,
        partition: int,
        bodies: Sequence[bytes],
        *,
        records: int,
        end_offset: int,
        max_bytes: int,
        depth: int = 1,
        acks: int = 1,
        min_bytes: int = 1,
        max_wait_ms: int = 500,
        producer: tuple[int, int] | None = None,
    ) -> None: ...
    def add_requests(self, address: _Address, heads: Sequence[RequestHead], *, depth: int = 1) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def status(self) -> str: ...
    def counters(self) -> tuple[int, int, int, int]: ...
    def histogram(self) -> LatencyHistogram: ...
    @property
    def measured_from_ns(self) -> int: ...
    @property
    def finished_ns(self) -> int: ...
    @property
    def cpu_s(self) -> float: ...
    @property
    def unanswered(self) -> int: ...
    def error_codes(self) -> dict[int, int]: ...

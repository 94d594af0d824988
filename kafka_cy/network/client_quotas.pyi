"""Client quotas as the control plane sees them."""

from collections.abc import Mapping
from typing import NamedTuple

from kafka_cy.network.server import Server

KINDS: tuple[str, ...]

class SensorReading(NamedTuple):
    kind: str
    user: str
    client_id: str
    limit: float
    rate: float
    throttle_ms: float
    tokens: float

class ClientQuotas:
    def __init__(self, server: Server) -> None: ...
    def set_windows(self, kind: str, windows_num: int, window_s: int) -> None: ...
    def set_client(self, names: Mapping[str, str | None], limits: Mapping[str, float]) -> None: ...
    def set_address(self, address: bytes | None, limit: float) -> None: ...
    def take_mutations(self, user: str | None, client_id: str | None, permits: float, strict: bool) -> tuple[bool, int]: ...
    def expire(self) -> None: ...
    @property
    def dropped(self) -> int: ...
    @property
    def sensors_count(self) -> int: ...
    def sensors(self) -> list[SensorReading]: ...

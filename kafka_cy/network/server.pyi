"""The network layer as Python sees it: listeners, reactors, requests for the control plane."""

from collections.abc import Iterable
from typing import Any, NamedTuple

class LogEvent(NamedTuple):
    level: int
    peer: str
    api_key: int | None
    message: str

class ControlRequest:
    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    client_host: str
    client_port: int
    listener_index: int
    connection_id: int
    body: bytes
    received_ns: int
    def respond(self, payload: bytes) -> None: ...
    def close(self, reason: str) -> None: ...
    @property
    def answered(self) -> bool: ...

class Server:
    def __init__(
        self,
        reactors: int,
        *,
        request_max_bytes: int = 104857600,
        queued_request_bytes_max: int = -1,
        queued_response_bytes_max: int = 268435456,
        connections_max: int = 2147483647,
        connections_per_ip_max: int = 2147483647,
        idle_timeout_ms: int = 600000,
        in_flight_max: int = 1024,
    ) -> None: ...
    def listen(self, listener_index: int, name: str, host: str, port: int) -> int: ...
    def set_connections_max(self, connections_max: int) -> None: ...
    def set_connections_per_ip_max(self, connections_per_ip_max: int) -> None: ...
    def set_api_versions(self, versions: Iterable[tuple[int, int, int, int | None]]) -> None: ...
    def start(self) -> None: ...
    def stop(self, drain_timeout_s: float = 1.0) -> None: ...
    def close_listeners(self, *, shut_only: bool = False) -> None: ...
    def take_requests(self, timeout_s: float) -> list[ControlRequest]: ...
    def wake(self) -> None: ...
    def take_log_events(self) -> list[LogEvent]: ...
    def counters(self) -> dict[str, Any]: ...

from typing import Any

class BrokerConnectionError(ConnectionError):
    kind: str
    def __init__(self, message: str, kind: str) -> None: ...

class BrokerConnection:
    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        transport: Any = None,
        *,
        timeout_ms: int = 30000,
        backoff_min_ms: int = 50,
        backoff_max_ms: int = 1000,
        response_bytes_max: int = ...,
    ) -> None: ...
    def request(
        self, api_key: int, version: int, body: bytes, *, flexible: bool, flexible_response: bool
    ) -> bytes: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...
    @property
    def address(self) -> str: ...

def logins_failed_so_far() -> int: ...

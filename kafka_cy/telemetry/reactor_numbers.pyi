from typing import Any, NamedTuple

class ReactorNumbers(NamedTuple):
    activity: int
    api_key: int
    turn_ns: int
    busy_ns: int
    loops: int
    requests: int
    responses: int
    bytes_in: int
    bytes_out: int
    mails: int
    network_io: list[int]
    opened: list[int]
    closed: list[int]
    authenticated: list[int]
    authentication_failed: list[int]
    reauthenticated: list[int]
    reauthentication_failed: list[int]
    expired_killed: list[int]
    accepts_throttled: list[int]
    accept_throttle_ns: list[int]
    address_throttled: list[int]
    address_throttle_ns: list[int]
    throttled: int
    software: list[tuple[int, bytes, bytes, int]]

class ControlNumbers(NamedTuple):
    idle_ns: int
    busy_ns: int
    queued: int

class SharedNumbers(NamedTuple):
    uptime_ns: int
    request_bytes: int
    request_bytes_max: int

def reactors(server: Any) -> list[ReactorNumbers]: ...
def control(server: Any) -> list[ControlNumbers]: ...
def shared(server: Any) -> SharedNumbers: ...
def flush_counts() -> list[int]: ...
def ms_per_tick(server: Any) -> float: ...
def quantile(counts: list[int], wanted: float) -> float: ...
def bucket(value: int) -> int: ...
def bucket_floor(index: int) -> float: ...

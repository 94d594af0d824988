from typing import NamedTuple

class FetcherEvent(NamedTuple):
    kind: str
    fetcher: int
    topic: str
    partition: int
    leader_epoch: int
    code: int
    epoch: int
    offset: int

class FetcherEvents:
    def __init__(self) -> None: ...
    def take(self, timeout_s: float) -> list[FetcherEvent]: ...
    def close(self) -> None: ...

from typing import NamedTuple

from kafka_cy.network.server import Server

class TracedBatch(NamedTuple):
    topic: str
    partition: int
    offset: int
    records: int
    traceparent: str

class TracedRequest(NamedTuple):
    api_key: int
    api_version: int
    correlation_id: int
    listener_index: int
    client_id: str
    client_host: str
    client_port: int
    received_ns: int
    begun_ns: int
    handled_ns: int
    answered_ns: int
    sent_ns: int
    response_bytes: int
    batches: list[TracedBatch]

class TraceReader:
    def __init__(self, server: Server, every: int, per_second_max: int) -> None: ...
    def take(self) -> list[TracedRequest]: ...
    @property
    def waiting_max(self) -> int: ...
    @property
    def dropped(self) -> int: ...

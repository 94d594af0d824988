"""What ShareFetch and ShareAcknowledge ask for, and what becomes of each of their partitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import UUID

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.in_flight_values import Acquired
from kafka_cy.share.sessions import FIRST_EPOCH, SessionKey, TopicPartition

Reads = Callable[[UUID | None], bool]  # whether the sender may read the topic of an id; None instead: it may
Acknowledged = Mapping[TopicPartition, Acknowledgements]


class PartitionResult:
    """The response of one partition."""

    __slots__ = ("acknowledge_error", "acquired", "error", "records")

    def __init__(self) -> None:
        self.error = ErrorCode.NONE
        self.acknowledge_error = ErrorCode.NONE
        self.records = b""
        self.acquired: list[Acquired] = []


Results = dict[TopicPartition, PartitionResult]
Respond = Callable[[ErrorCode, Results], object]


class FetchRequest(NamedTuple):
    """A ShareFetch. `named` are the partitions that the request names, with or without acknowledgements."""

    key: SessionKey
    connection_id: int
    is_gone: bool  # the connection has closed already
    epoch: int
    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    max_records: int
    batch_size: int
    strict: bool
    is_renewal: bool
    named: list[TopicPartition]
    acknowledgements: Acknowledged
    forgotten: list[TopicPartition]
    reads: Reads | None = None

    @property
    def wants_records(self) -> bool:
        """Whether it takes any."""
        return self.max_records > 0 and self.max_bytes > 0

    def without_lists(self) -> FetchRequest:
        """What matters once its partitions belong to the session: a fetch that waits keeps no more."""
        return self._replace(named=[], acknowledgements={}, forgotten=[])

    @property
    def size(self) -> int:
        """Partitions that it names."""
        return len(self.named) + len(self.forgotten)

    def error(self) -> ErrorCode:
        """INVALID_REQUEST for a fetch that contradicts itself."""
        if not self.key.member_id:
            return ErrorCode.INVALID_REQUEST
        if self.epoch == FIRST_EPOCH and any(self.acknowledgements.values()):
            return ErrorCode.INVALID_REQUEST
        takes = self.max_wait_ms or self.min_bytes or self.max_bytes or self.max_records
        if self.is_renewal and takes:
            return ErrorCode.INVALID_REQUEST
        return ErrorCode.NONE


class AcknowledgeRequest(NamedTuple):
    """A ShareAcknowledge."""

    key: SessionKey
    epoch: int
    is_renewal: bool
    acknowledgements: Acknowledged
    reads: Reads | None = None


class Rights:
    """Which topics the sender of a request may read; each is asked once."""

    def __init__(self, reads: Reads | None) -> None:
        self._reads = reads
        self._known: dict[UUID | None, bool] = {}

    def may(self, topic_id: UUID | None) -> bool:
        """Whether it may read the topic."""
        if self._reads is None:
            return True
        may = self._known.get(topic_id)
        if may is None:
            may = self._known[topic_id] = self._reads(topic_id)
        return may


class Answer:
    """Responds to a request: once."""

    __slots__ = ("_respond",)

    def __init__(self, respond: Respond) -> None:
        self._respond: Respond | None = respond

    def __call__(self, error: ErrorCode, results: Results) -> None:
        """Only the first one counts."""
        respond, self._respond = self._respond, None
        if respond is not None:
            respond(error, results)

    def failed(self) -> None:
        """After a fault."""
        self(ErrorCode.UNKNOWN_SERVER_ERROR, {})

"""The requests of one client, one at a time; errors are returned, a broken connection raises Closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch, iterate_batches
from kafka_cy.records.api import TRANSACTIONAL

from .history import Partition, ReadRecord, Send

RETRIABLE = {
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.CONCURRENT_TRANSACTIONS,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.UNSTABLE_OFFSET_COMMIT,
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.NOT_CONTROLLER,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.OFFSET_NOT_AVAILABLE,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,  # a topic that was just created
}
PAUSE_S = 0.005  # between two attempts: a client cannot await that a transaction has ended
UNSTABLE_WAIT_S = 5.0  # it may be another client, which waits for its turn, that has to end its transaction
TIMEOUT_MS = 900_000  # no transaction shall time out, however slow the machine is
NO_PRODUCER = (-1, -1)


class Requests(Protocol):
    """Where a client sends its requests to: one broker, or the right one of a cluster. Raises Closed, or OSError."""

    def request(self, api_key: int, version: int, values: dict[str, Any]) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Client:
    """`transaction_version` 2 is the transaction protocol of KIP-890, 1 the one before it.

    A retriable error may last for `wait_s`.
    """

    def __init__(self, requests: Requests, transaction_version: int = 2, *, wait_s: float = 30.0) -> None:
        self.raw = requests
        self.transaction_version = transaction_version
        self._wait_s = wait_s

    def retried(self, call: Callable[[], tuple[ErrorCode, Any]]) -> tuple[ErrorCode, Any]:
        """Call until the error is not retriable; returns the last one."""
        begin = time.monotonic()
        while True:
            error, result = call()
            waited = time.monotonic() - begin
            limit = UNSTABLE_WAIT_S if error == ErrorCode.UNSTABLE_OFFSET_COMMIT else self._wait_s
            if error not in RETRIABLE or waited > limit:
                return error, result
            time.sleep(PAUSE_S)

    def _ask(self, api_key: int, version: int, values: Mapping[str, Any]) -> dict[str, Any]:
        return self.raw.request(api_key, version, dict(values))

    def answer(self, api_key: int, version: int, values: Mapping[str, Any]) -> tuple[ErrorCode, dict[str, Any]]:
        """Of a request whose response has one error."""

        def call() -> tuple[ErrorCode, dict[str, Any]]:
            answer = self._ask(api_key, version, values)
            return ErrorCode(answer["error_code"]), answer

        return self.retried(call)

    def find_coordinator(self, key: str, key_type: int) -> ErrorCode:
        def call() -> tuple[ErrorCode, None]:
            answer = self._ask(10, 4, {"key_type": key_type, "coordinator_keys": [key]})
            return ErrorCode(answer["coordinators"][0]["error_code"]), None

        return self.retried(call)[0]

    def init_producer_id(self, transactional_id: str | None) -> tuple[ErrorCode, tuple[int, int]]:
        """Producer id and epoch."""

        def call() -> tuple[ErrorCode, tuple[int, int]]:
            answer = self._ask(
                22,
                4,
                {"transactional_id": transactional_id, "transaction_timeout": TIMEOUT_MS, "producer_id": -1, "producer_epoch": -1},
            )
            return ErrorCode(answer["error_code"]), (answer["producer_id"], answer["producer_epoch"])

        return self.retried(call)

    def add_partition(self, transactional_id: str, producer: tuple[int, int], partition: Partition) -> ErrorCode:
        """AddPartitionsToTxn of the protocol before KIP-890."""

        def call() -> tuple[ErrorCode, None]:
            topics = [{"name": partition.topic, "partitions": [partition.index]}]
            answer = self._ask(
                24,
                3,
                {
                    "v3_and_below_transactional_id": transactional_id,
                    "v3_and_below_producer_id": producer[0],
                    "v3_and_below_producer_epoch": producer[1],
                    "v3_and_below_topics": topics,
                },
            )
            (topic,) = answer["results_by_topic_v3_and_below"]
            return ErrorCode(topic["results_by_partition"][0]["partition_error_code"]), None

        return self.retried(call)[0]

    def produce(
        self, transactional_id: str | None, producer: tuple[int, int], sequence: int, sends: Sequence[Send]
    ) -> tuple[ErrorCode, int]:
        """One batch; returns its offset, too. A value that is also the key is kept by compaction."""
        partition = sends[0].partition
        batch = build_batch(
            [((send.key or send.value).encode(), send.value.encode(), int(time.time() * 1000), (), -1) for send in sends],
            attributes=TRANSACTIONAL if transactional_id is not None else 0,
            producer_id=producer[0],
            producer_epoch=producer[1],
            base_sequence=sequence,
        )
        topics = [{"name": partition.topic, "partition_data": [{"index": partition.index, "records": batch}]}]
        body = {"transactional_id": transactional_id, "acks": -1, "timeout": 30_000, "topic_data": topics}

        def call() -> tuple[ErrorCode, int]:
            answer = self._ask(0, 12 if self.transaction_version == 2 else 11, body)
            found = answer["responses"][0]["partition_responses"][0]
            return ErrorCode(found["error_code"]), found["base_offset"]

        return self.retried(call)

    def end(self, transactional_id: str, producer: tuple[int, int], *, commit: bool) -> tuple[ErrorCode, tuple[int, int]]:
        """EndTxn; returns the producer id and epoch for the next transaction."""

        def call() -> tuple[ErrorCode, tuple[int, int]]:
            values = {
                "transactional_id": transactional_id, "producer_id": producer[0], "producer_epoch": producer[1],
                "committed": commit,
            }  # fmt: skip
            answer = self._ask(26, 5 if self.transaction_version == 2 else 4, values)
            following = (answer.get("producer_id", -1), answer.get("producer_epoch", -1))
            return ErrorCode(answer["error_code"]), producer if following == NO_PRODUCER else following

        return self.retried(call)

    def commit_offset(
        self, transactional_id: str, producer: tuple[int, int], group: str, partition: Partition, offset: int,
        member: tuple[str, int] = ("", -1),
    ) -> ErrorCode:  # fmt: skip
        """TxnOffsetCommit, after AddOffsetsToTxn in the protocol before KIP-890."""
        ids = {"transactional_id": transactional_id, "producer_id": producer[0], "producer_epoch": producer[1], "group_id": group}

        def add() -> tuple[ErrorCode, None]:
            return ErrorCode(self._ask(25, 4, ids)["error_code"]), None

        def call() -> tuple[ErrorCode, None]:
            one = {"partition_index": partition.index, "committed_offset": offset, "committed_metadata": ""}
            topics = [{"name": partition.topic, "partitions": [one]}]
            fields = ids | {"member_id": member[0], "generation_id": member[1], "topics": topics}
            answer = self._ask(28, 5 if self.transaction_version == 2 else 4, fields)
            return ErrorCode(answer["topics"][0]["partitions"][0]["error_code"]), None

        error = self.retried(add)[0] if self.transaction_version == 1 else ErrorCode.NONE
        return error or self.retried(call)[0]

    def commit_plainly(self, group: str, partition: Partition, offset: int, member: tuple[str, int] = ("", -1)) -> ErrorCode:
        """OffsetCommit."""

        def call() -> tuple[ErrorCode, None]:
            one = {
                "partition_index": partition.index, "committed_offset": offset, "committed_leader_epoch": -1,
                "committed_metadata": "",
            }  # fmt: skip
            topics = [{"name": partition.topic, "partitions": [one]}]
            fields = {"group_id": group, "member_id": member[0], "generation_id_or_member_epoch": member[1], "topics": topics}
            answer = self._ask(8, 9, fields)
            return ErrorCode(answer["topics"][0]["partitions"][0]["error_code"]), None

        return self.retried(call)[0]

    def committed_offset(self, group: str, partition: Partition) -> tuple[ErrorCode, int]:
        """OffsetFetch with RequireStable; -1 when nothing was committed."""

        def call() -> tuple[ErrorCode, int]:
            asked = {"group_id": group, "topics": [{"name": partition.topic, "partition_indexes": [partition.index]}]}
            (answer,) = self._ask(9, 8, {"groups": [asked], "require_stable": True})["groups"]
            if answer["error_code"]:
                return ErrorCode(answer["error_code"]), -1
            found = answer["topics"][0]["partitions"][0]
            return ErrorCode(found["error_code"]), found["committed_offset"]

        return self.retried(call)

    def fetch(
        self, partition: Partition, offset: int, *, committed: bool, max_wait_ms: int = 0, min_bytes: int = 0
    ) -> tuple[ErrorCode, list[ReadRecord], int]:
        """Records from `offset` on, and the offset of the next fetch. Aborted records are left out as a consumer does it."""
        one = {"partition": partition.index, "fetch_offset": offset, "partition_max_bytes": 1 << 20}
        asked = {
            "max_wait": max_wait_ms, "min_bytes": min_bytes, "isolation_level": int(committed),
            "topics": [{"topic": partition.topic, "partitions": [one]}],
        }  # fmt: skip

        def call() -> tuple[ErrorCode, dict[str, Any]]:
            (found,) = self._ask(1, 12, asked)["responses"][0]["partitions"]
            return ErrorCode(found["error_code"]), found

        error, found = self.retried(call)
        aborted = sorted((each["first_offset"], each["producer_id"]) for each in found["aborted_transactions"] or ())
        records, following = _consumed(found["records"] or b"", offset, aborted if committed else [])
        return error, records, following

    def read_all(self, partition: Partition, *, committed: bool) -> list[ReadRecord]:
        """Every record from the first to the end (the last stable offset if `committed`)."""
        records: list[ReadRecord] = []
        offset = 0
        while True:
            error, found, following = self.fetch(partition, offset, committed=committed)
            assert not error, error
            if following == offset:
                return records
            records += found
            offset = following

    def create_topics(self, topics: list[dict[str, Any]]) -> ErrorCode:
        """The first error. A topic that an attempt before has created is none."""
        return self._change_topics(19, 5, "topics", topics, ErrorCode.TOPIC_ALREADY_EXISTS)

    def delete_topics(self, names: list[str]) -> ErrorCode:
        """The first error. A topic that an attempt before has deleted is none."""
        return self._change_topics(20, 4, "topic_names", names, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def _change_topics(self, api_key: int, version: int, field: str, topics: list[Any], done: ErrorCode) -> ErrorCode:
        def call() -> tuple[ErrorCode, None]:
            answer = self._ask(api_key, version, {field: topics, "timeout": 30_000})
            errors = [ErrorCode(each["error_code"]) for each in answer["topics" if api_key == 19 else "responses"]]
            return next((error for error in errors if error not in (ErrorCode.NONE, done)), ErrorCode.NONE), None

        return self.retried(call)[0]

    def close(self) -> None:
        self.raw.close()


def _consumed(data: bytes, offset: int, aborted: list[tuple[int, int]]) -> tuple[list[ReadRecord], int]:
    """The records that a consumer delivers, and the offset after the last batch."""
    records: list[ReadRecord] = []
    waiting = list(aborted)
    aborting: set[int] = set()
    for batch in iterate_batches(data, allow_partial=True):
        while waiting and waiting[0][0] <= batch.last_offset:
            aborting.add(waiting.pop(0)[1])
        if batch.is_control:
            aborting.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in aborting):
            records += [ReadRecord(each.offset, (each.value or b"").decode()) for each in batch.records() if each.offset >= offset]
        offset = batch.last_offset + 1
    return records, offset


"""Calls of client libraries that need a group's coordinator, repeated while the coordinator starts or moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

Result = TypeVar("Result")

#: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
PASSING_ERRORS = (14, 15, 16)
RETRY_AFTER_S = 0.1


def retry_while_coordinator_moves(call: Callable[[], Result], timeout_s: float) -> Result:
    """The result of `call`. Raises its KafkaException if the error is another one or lasts longer than `timeout_s`."""
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in PASSING_ERRORS or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_AFTER_S)


def committed_offsets(
    consumer: Consumer, partitions: list[TopicPartition], timeout_s: float
) -> dict[tuple[str, int], int]:
    """The offsets that the consumer's group has committed, of these partitions. Raises KafkaException.

    librdkafka's AdminClient.list_consumer_group_offsets must not be used: the process crashes (SIGSEGV, librdkafka 2.16)
    when the broker answers NOT_COORDINATOR to OffsetFetch. Consumer.committed raises the error instead.
    """
    found = retry_while_coordinator_moves(lambda: consumer.committed(partitions, timeout=timeout_s), timeout_s)
    return {(each.topic, each.partition): each.offset for each in found if each.error is None and each.offset >= 0}

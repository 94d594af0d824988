"""`kafka-cy consume`: writes records to standard output."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Protocol

import click

from kafka_cy.tools.client import (
    REQUEST_TIMEOUT_S,
    ToolError,
    bootstrap_option,
    connect_consumer,
    key_values,
    reason_of,
)
from kafka_cy.tools.output import note
from kafka_cy.tools.record_format import LetterFormat, PropertyFormat

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition

OFFSET_TAIL_BASE = -2000  # librdkafka: OFFSET_TAIL_BASE - N stands for the last N records


class RecordFormat(Protocol):
    """How a record is printed."""

    def render(self, message: Message) -> bytes:
        """One record as bytes."""


def assign_partitions(consumer: Consumer, topic: str, partition: int | None, offset: int) -> None:
    """Read all partitions of a topic, or one, without a group. Raises ToolError."""
    from confluent_kafka import TopicPartition

    metadata = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
    if metadata.error is not None:
        raise ToolError(f"Topic {topic}: {reason_of(metadata.error)} ({metadata.error.name()}).")
    if partition is not None and partition not in metadata.partitions:
        raise ToolError(f"Topic {topic} has no partition {partition}.")
    chosen = sorted(metadata.partitions) if partition is None else [partition]
    if offset >= 0:
        for each in chosen:
            require_offset_in_log(consumer, TopicPartition(topic, each), offset)
    consumer.assign([TopicPartition(topic, each, offset) for each in chosen])


def require_offset_in_log(consumer: Consumer, partition: TopicPartition, offset: int) -> None:
    """Raise ToolError if a partition's log has no such offset. Its end, where the next record goes, is allowed."""
    earliest, end = consumer.get_watermark_offsets(partition, timeout=REQUEST_TIMEOUT_S)
    if not earliest <= offset <= end:
        raise ToolError(
            f"Offset {offset} of {partition.topic}-{partition.partition} is out of range: the log starts at {earliest} "
            f"and ends at {end}."
        )


def start_offset(from_beginning: bool, offset: str | None) -> int:
    """The librdkafka offset of `--from-beginning` and `--offset`. Raises click.UsageError."""
    from confluent_kafka import OFFSET_BEGINNING, OFFSET_END

    if offset in ("earliest", "beginning"):
        return int(OFFSET_BEGINNING)
    if offset in ("latest", "end"):
        return int(OFFSET_END)
    if offset is not None:
        try:
            number = int(offset)
        except ValueError:
            raise click.UsageError(f"--offset must be earliest, latest or a number, not {offset!r}.") from None
        return number if number >= 0 else OFFSET_TAIL_BASE + number
    return int(OFFSET_BEGINNING if from_beginning else OFFSET_END)


@click.command("consume")
@click.option("-t", "--topic", required=True, help="Topic to read.")
@click.option(
    "--from-beginning", is_flag=True, help="Start at the earliest record (a group: only if it has no committed offset)."
)
@click.option("-g", "--group", help="Consumer group to join; offsets are committed.")
@click.option("-p", "--partition", type=click.IntRange(min=0), help="Read this partition only (no group).")
@click.option(
    "-o", "--offset", help="Where to start: earliest, latest, -N (the last N records); with --partition also a number."
)
@click.option("-c", "--max-messages", type=click.IntRange(min=1), help="Stop after this number of records.")
@click.option("-e", "--exit-at-end", is_flag=True, help="Stop at the end of the topic.")
@click.option("--timeout-ms", type=click.IntRange(min=1), help="Stop when no record has arrived for this time.")
@click.option(
    "--isolation-level",
    type=click.Choice(["read_uncommitted", "read_committed"]),
    default="read_uncommitted",
    show_default=True,
    help="read_committed leaves out the records of aborted transactions, and waits for those of open ones.",
)
@click.option(
    "--property", "properties", multiple=True, metavar="KEY=VALUE", help="print.key=true, print.offset=true ..."
)
@click.option(
    "-f",
    "--format",
    "letters",
    metavar="FORMAT",
    help="How to print a record, in kcat's letters: %t topic, %p partition, %o offset, %k key, %s value, %T timestamp in ms, "
    r"%h headers, %K and %S lengths, %R the length as 4 bytes, %% a percent sign; \n, \t, \xNN.",
)
@click.option(
    "--consumer-property", "settings", multiple=True, metavar="KEY=VALUE", help="librdkafka setting; may be repeated."
)
@bootstrap_option
def command(
    topic: str,
    from_beginning: bool,
    group: str | None,
    partition: int | None,
    offset: str | None,
    max_messages: int | None,
    exit_at_end: bool,
    timeout_ms: int | None,
    isolation_level: str,
    properties: tuple[str, ...],
    letters: str | None,
    settings: tuple[str, ...],
    bootstrap_servers: str,
) -> None:
    """Print the records of a topic, one a line."""
    if group is not None and partition is not None:
        raise click.UsageError("--group and --partition cannot be combined.")
    start = start_offset(from_beginning, offset)
    if offset is not None and group is not None:
        raise click.UsageError("--offset and --group cannot be combined.")
    if start >= 0 and partition is None:
        raise click.UsageError("A number as --offset requires --partition.")
    record_format = chosen_format(key_values(properties, "--property"), letters)
    consumer = connect_consumer(
        bootstrap_servers,
        {
            "group.id": group or "kafka-cy-consume",  # librdkafka requires a group id; without --group it is never used
            "enable.auto.commit": group is not None,
            "auto.offset.reset": "earliest" if from_beginning else "latest",
            "allow.auto.create.topics": False,
            "enable.partition.eof": exit_at_end,
            "isolation.level": isolation_level,
            **key_values(settings, "--consumer-property"),
        },
    )
    # Otherwise a terminated process would remain a member of its group until its session expires.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if group is None:
            assign_partitions(consumer, topic, partition, start)
        else:
            consumer.subscribe([topic])
        print_records(consumer, record_format, max_messages, timeout_ms)
    finally:
        consumer.close()
        signal.signal(signal.SIGTERM, before)


def chosen_format(properties: dict[str, str], letters: str | None) -> RecordFormat:
    """The format of `--property` or `--format`. Raises click.UsageError."""
    if letters is None:
        return PropertyFormat.from_properties(properties)
    if properties:
        raise click.UsageError("--format and --property cannot be combined.")
    return LetterFormat(letters)


def print_records(
    consumer: Consumer, record_format: RecordFormat, max_messages: int | None, timeout_ms: int | None
) -> None:
    """Print records until the count is reached, no record arrives within the timeout, Ctrl-C or SIGTERM.

    With the setting enable.partition.eof they end when all assigned partitions have been read to their end.
    """
    from confluent_kafka import KafkaError, KafkaException

    count = 0
    ended: set[tuple[str | None, int | None]] = set()
    last_record_at = time.monotonic()
    try:
        while max_messages is None or count < max_messages:
            wanted = 500 if max_messages is None else min(500, max_messages - count)
            # 100 ms: a single record is shown and Ctrl-C takes effect within this time.
            for message in consumer.consume(wanted, timeout=0.1):
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        ended.add((message.topic(), message.partition()))
                        continue
                    if error.retriable():
                        continue
                    raise KafkaException(error)
                sys.stdout.buffer.write(record_format.render(message))
                count += 1
                last_record_at = time.monotonic()
            sys.stdout.buffer.flush()
            if ended and ended >= {(each.topic, each.partition) for each in consumer.assignment()}:
                break
            if timeout_ms is not None and (time.monotonic() - last_record_at) * 1000 > timeout_ms:
                break
    except KeyboardInterrupt:
        pass
    note(f"{count} record{'' if count == 1 else 's'} read.")

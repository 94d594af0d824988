"""`kafka-cy get-offsets` and `kafka-cy delete-records`."""

from __future__ import annotations

from typing import Any

import click

from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin, reason_of
from kafka_cy.tools.group_offsets import log_offsets, partitions_of
from kafka_cy.tools.output import note, output_option, print_table

OFFSET_MAX = (1 << 63) - 1  # and of a time in milliseconds
EARLIEST, LATEST, MAX_TIMESTAMP = "earliest", "latest", "max-timestamp"


@click.command("get-offsets")
@click.argument("named", nargs=-1, metavar="[TOPIC[:0,1]]...")
@click.option("-t", "--topic", "options", multiple=True, help="Topic; may be repeated (default: all).")
@click.option(
    "--time",
    "when",
    default=LATEST,
    show_default=True,
    metavar="TIME",
    help="earliest, latest, max-timestamp, or milliseconds since 1970 (-1 and -2 as in Kafka).",
)
@output_option
@bootstrap_option
def get_offsets(named: tuple[str, ...], options: tuple[str, ...], when: str, bootstrap_servers: str) -> None:
    """Show offsets of partitions: the end, the start, or of a point in time."""
    spec = offset_spec(when)
    admin = connect_admin(bootstrap_servers)
    topics = (*named, *options)
    if not topics:
        known = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        topics = tuple(name for name in sorted(known) if not name.startswith("__"))
    offsets = log_offsets(admin, partitions_of(admin, topics), spec, note)
    rows = [(*place, offset if offset >= 0 else None) for place, offset in sorted(offsets.items())]
    print_table(("TOPIC", "PARTITION", "OFFSET"), rows)


def offset_spec(when: str) -> Any:
    """The OffsetSpec of `--time`. Raises click.UsageError."""
    from confluent_kafka.admin import OffsetSpec

    if when in (LATEST, "-1"):
        return OffsetSpec.latest()
    if when in (EARLIEST, "-2"):
        return OffsetSpec.earliest()
    if when in (MAX_TIMESTAMP, "-3"):
        return OffsetSpec.max_timestamp()
    try:
        time_ms = int(when)
    except ValueError:
        time_ms = -1
    if not 0 <= time_ms <= OFFSET_MAX:
        raise click.UsageError(f"--time must be earliest, latest, max-timestamp or milliseconds, not {when!r}.")
    return OffsetSpec.for_timestamp(time_ms)


@click.command("delete-records")
@click.argument("topic")
@click.option("-p", "--partition", "partitions", type=click.IntRange(min=0), multiple=True, help="Default: all.")
@click.option("--before-offset", type=click.IntRange(0, OFFSET_MAX), help="Delete the records below this offset.")
@click.option("--all", "every", is_flag=True, help="Delete all records.")
@output_option
@bootstrap_option
def delete_records(
    topic: str, partitions: tuple[int, ...], before_offset: int | None, every: bool, bootstrap_servers: str
) -> None:
    """Delete the oldest records of a topic."""
    from confluent_kafka import OFFSET_END, KafkaException, TopicPartition

    if every == (before_offset is not None):
        raise click.UsageError(f"Give {'only one' if every else 'one'} of --before-offset and --all.")
    admin = connect_admin(bootstrap_servers)
    word = f"{topic}:{','.join(map(str, partitions))}" if partitions else topic
    target = OFFSET_END if before_offset is None else before_offset
    places = [TopicPartition(topic, index, target) for _, index in partitions_of(admin, (word,))]
    rows = []
    for place, future in admin.delete_records(places).items():
        try:
            rows.append((place.topic, place.partition, future.result(REQUEST_TIMEOUT_S).low_watermark))
        except KafkaException as error:
            cause = error.args[0]
            raise ToolError(f"{place.topic}-{place.partition}: {reason_of(cause)} ({cause.name()}).") from error
    print_table(("TOPIC", "PARTITION", "LOG-START-OFFSET"), sorted(rows))

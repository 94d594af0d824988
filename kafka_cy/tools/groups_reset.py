"""`kafka-cy groups reset-offsets`."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin, reason_of
from kafka_cy.tools.group_offsets import committed_offsets, log_offsets, partitions_of
from kafka_cy.tools.groups import described
from kafka_cy.tools.output import note, print_table

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient


def time_ms(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time (UTC unless it names a zone); raises ToolError."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ToolError(f"--to-datetime must be like 2026-01-31T18:00:00, not {text!r}.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


def partitions_to_reset(
    admin: AdminClient, group: str, topics: tuple[str, ...], committed: dict[tuple[str, int], int]
) -> list[tuple[str, int]]:
    """All partitions of the named topics, or those with a committed offset. Raises ToolError.

    A group that does not exist can be reset for named topics, as in Kafka: that creates the group with these offsets.
    """
    if topics:
        return partitions_of(admin, topics)
    if not committed:
        described(admin, group)
        raise ToolError(f"Consumer group {group} has no committed offsets: name the topics with --topic.")
    return sorted(committed)


def new_offsets(
    admin: AdminClient,
    partitions: list[tuple[str, int]],
    committed: dict[tuple[str, int], int],
    target: dict[str, Any],
) -> dict[tuple[str, int], int]:
    """The new offset of each partition, limited to the log's range."""
    from confluent_kafka.admin import OffsetSpec

    earliest = log_offsets(admin, partitions, OffsetSpec.earliest())
    latest = log_offsets(admin, partitions, OffsetSpec.latest())
    if target.get("to_earliest"):
        return earliest
    if target.get("to_latest"):
        return latest
    if target.get("to_datetime") is not None:
        found = log_offsets(admin, partitions, OffsetSpec.for_timestamp(time_ms(target["to_datetime"])))
        return {place: found[place] if found.get(place, -1) >= 0 else latest[place] for place in latest}
    if target.get("to_offset") is not None:
        wanted = dict.fromkeys(partitions, target["to_offset"])
    else:
        wanted = {place: committed.get(place, earliest[place]) + target["shift_by"] for place in earliest}
    return {place: min(max(wanted[place], earliest[place]), latest[place]) for place in earliest}


@click.command("reset-offsets")
@click.argument("named", required=False, metavar="[GROUP]")
@click.option("--group", help="Group to reset; it must have no active members.")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="TOPIC[:0,1]",
    help="Topic to reset; may be repeated (default: all committed).",
)
@click.option("--to-earliest", is_flag=True)
@click.option("--to-latest", is_flag=True)
@click.option("--to-offset", type=click.IntRange(min=0))
@click.option("--to-datetime", metavar="TIME", help="First record at or after this time (ISO 8601, UTC).")
@click.option("--shift-by", type=int, metavar="N", help="Move the offsets forward by N, or back if N is negative.")
@click.option("--execute", is_flag=True, help="Apply the change; without this option, only show it.")
@bootstrap_option
def command(
    named: str | None, group: str | None, topics: tuple[str, ...], execute: bool, bootstrap_servers: str, **target: Any
) -> None:
    """Move the committed offsets of a group."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    chosen = group or named
    if chosen is None:
        raise click.UsageError("Name a group to reset.")
    given = sum(value is not None and value is not False for value in target.values())
    if given != 1:
        raise click.UsageError(
            f"Give {'only one' if given else 'one'} of --to-earliest, --to-latest, --to-offset, --to-datetime, "
            "--shift-by."
        )
    admin = connect_admin(bootstrap_servers)
    committed = committed_offsets(admin, bootstrap_servers, chosen)
    offsets = new_offsets(admin, partitions_to_reset(admin, chosen, topics, committed), committed, target)
    if execute and offsets:
        moved: list[TopicPartition] = [TopicPartition(*place, offset) for place, offset in sorted(offsets.items())]
        future = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(chosen, moved)])[chosen]
        for partition in future.result(REQUEST_TIMEOUT_S).topic_partitions:
            if partition.error is not None:
                raise ToolError(f"{partition.topic}-{partition.partition}: {reason_of(partition.error)}.")
    print_table(
        ("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"), [(chosen, *place, offsets[place]) for place in sorted(offsets)]
    )
    if not execute:
        note("Nothing was changed: add --execute to apply it.")

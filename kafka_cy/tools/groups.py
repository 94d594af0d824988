"""`kafka-cy groups list|describe|reset-offsets|delete`."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin, reason_of
from kafka_cy.tools.output import note, print_table

if TYPE_CHECKING:
    from confluent_kafka import ConsumerGroupState, TopicPartition
    from confluent_kafka.admin import AdminClient


@click.group("groups")
def commands() -> None:
    """List, describe, reset and delete consumer groups."""


@commands.command("list")
@bootstrap_option
def list_groups(bootstrap_servers: str) -> None:
    """List all consumer groups and their states."""
    admin = connect_admin(bootstrap_servers)
    result = admin.list_consumer_groups().result(REQUEST_TIMEOUT_S)
    for error in result.errors:
        raise ToolError(f"Groups cannot be listed: {error}.")
    rows = sorted((group.group_id, state_name(group.state)) for group in result.valid)
    print_table(("GROUP", "STATE"), rows)


def state_name(state: ConsumerGroupState) -> str:
    """`PreparingRebalance` for the enumeration's PREPARING_REBALANCING, and so on, as Kafka's tools print it."""
    names = {"PREPARING_REBALANCING": "PreparingRebalance", "COMPLETING_REBALANCING": "CompletingRebalance"}
    name = str(state.name)
    return names.get(name, name.title().replace("_", ""))


def described(admin: AdminClient, group: str) -> Any:
    """The group's description. Raises ToolError if the group does not exist."""
    result = admin.describe_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S)
    if state_name(result.state) == "Dead":
        raise ToolError(f"Consumer group {group} does not exist.")
    return result


def committed_offsets(admin: AdminClient, group: str) -> dict[tuple[str, int], int]:
    """The offsets that the group has committed."""
    from confluent_kafka import ConsumerGroupTopicPartitions

    future = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
    partitions = future.result(REQUEST_TIMEOUT_S).topic_partitions
    return {(each.topic, each.partition): each.offset for each in partitions if each.offset >= 0}


def log_offsets(admin: AdminClient, partitions: list[tuple[str, int]], spec: Any) -> dict[tuple[str, int], int]:
    """The offset of a spec (latest, earliest, of a time) by partition; unknown ones are missing."""
    from confluent_kafka import KafkaException, TopicPartition

    if not partitions:
        return {}
    wanted = {TopicPartition(topic, index): spec for topic, index in partitions}
    offsets = {}
    for place, future in admin.list_offsets(wanted).items():
        try:
            offsets[place.topic, place.partition] = future.result(REQUEST_TIMEOUT_S).offset
        except KafkaException:  # the topic was deleted meanwhile
            continue
    return offsets


@commands.command("describe")
@click.argument("named", required=False, metavar="[GROUP]")
@click.option("--group", help="Group to describe.")
@click.option("--members", is_flag=True, help="Show the members instead of offsets and lag.")
@click.option("--state", "only_state", is_flag=True, help="Show the group's state instead of offsets and lag.")
@bootstrap_option
def describe(named: str | None, group: str | None, members: bool, only_state: bool, bootstrap_servers: str) -> None:
    """Show offsets and lag, members, or the state of a group."""
    chosen = group or named
    if chosen is None:
        raise click.UsageError("Name a group to describe.")
    admin = connect_admin(bootstrap_servers)
    description = described(admin, chosen)
    if only_state:
        coordinator = description.coordinator
        columns = ("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS")
        place = f"{coordinator.host}:{coordinator.port} ({coordinator.id})" if coordinator else None
        state = state_name(description.state)
        print_table(columns, [(chosen, place, description.partition_assignor, state, len(description.members))])
    elif members:
        columns = ("GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS")
        rows = [
            (chosen, member.member_id, member.host, member.client_id, len(member.assignment.topic_partitions))
            for member in description.members
        ]
        print_table(columns, rows)
    else:
        describe_offsets(admin, chosen, description)


def describe_offsets(admin: AdminClient, group: str, description: Any) -> None:
    """Print one row per partition that has a committed offset or an owner."""
    from confluent_kafka.admin import OffsetSpec

    committed = committed_offsets(admin, group)
    owners = {
        (place.topic, place.partition): member
        for member in description.members
        for place in (member.assignment.topic_partitions if member.assignment else [])
    }
    partitions = sorted({*committed, *owners})
    ends = log_offsets(admin, partitions, OffsetSpec.latest())
    rows = []
    for place in partitions:
        offset, end, member = committed.get(place), ends.get(place), owners.get(place)
        lag = None if offset is None or end is None else max(0, end - offset)
        owner = (member.member_id, member.host, member.client_id) if member else (None, None, None)
        rows.append((group, *place, offset, end, lag, *owner))
    if not description.members:
        note(f"Consumer group {group} has no active members.")
    columns = (
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    )
    print_table(columns, rows)


def time_ms(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time (UTC unless it names a zone); raises ToolError."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ToolError(f"--to-datetime must be like 2026-01-31T18:00:00, not {text!r}.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


def partitions_of(admin: AdminClient, group: str, topics: tuple[str, ...]) -> list[tuple[str, int]]:
    """All partitions of the named topics, or those with a committed offset. Raises ToolError.

    A group that does not exist can be reset for named topics, as in Kafka: that creates the group with these offsets.
    """
    if not topics:
        committed = sorted(committed_offsets(admin, group))
        if not committed:
            described(admin, group)
            raise ToolError(f"Consumer group {group} has no committed offsets: name the topics with --topic.")
        return committed
    known = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    for topic in topics:
        if topic not in known:
            raise ToolError(f"Topic {topic} does not exist.")
    return [(topic, index) for topic in topics for index in sorted(known[topic].partitions)]


def new_offsets(
    admin: AdminClient, group: str, partitions: list[tuple[str, int]], target: dict[str, Any]
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
        committed = committed_offsets(admin, group)
        wanted = {place: committed.get(place, earliest[place]) + target["shift_by"] for place in earliest}
    return {place: min(max(wanted[place], earliest[place]), latest[place]) for place in earliest}


@commands.command("reset-offsets")
@click.argument("named", required=False, metavar="[GROUP]")
@click.option("--group", help="Group to reset; it must have no active members.")
@click.option("--topic", "topics", multiple=True, help="Topic to reset; may be repeated (default: all committed).")
@click.option("--to-earliest", is_flag=True)
@click.option("--to-latest", is_flag=True)
@click.option("--to-offset", type=click.IntRange(min=0))
@click.option("--to-datetime", metavar="TIME", help="First record at or after this time (ISO 8601, UTC).")
@click.option("--shift-by", type=int, metavar="N", help="Move the offsets forward by N, or back if N is negative.")
@click.option("--execute", is_flag=True, help="Apply the change; without this option, only show it.")
@bootstrap_option
def reset_offsets(
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
    offsets = new_offsets(admin, chosen, partitions_of(admin, chosen, topics), target)
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


@commands.command("delete")
@click.argument("named", nargs=-1, metavar="[GROUP]...")
@click.option("--group", "options", multiple=True, help="Group to delete; may be repeated.")
@bootstrap_option
def delete(named: tuple[str, ...], options: tuple[str, ...], bootstrap_servers: str) -> None:
    """Delete groups that have no active members, with their offsets."""
    names = [*named, *options]
    if not names:
        raise click.UsageError("Name a group to delete.")
    admin = connect_admin(bootstrap_servers)
    for name, future in admin.delete_consumer_groups(names).items():
        future.result(REQUEST_TIMEOUT_S)
        click.echo(f"Deleted group {name}.")

"""`kafka-cy groups reset-offsets` and `delete-offsets`."""

from __future__ import annotations

import datetime
import re
import time
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin, reason_of
from kafka_cy.tools.group_kinds import delete_share_offsets, set_share_offsets, share_offsets, type_of
from kafka_cy.tools.group_offsets import committed_offsets, log_offsets, partitions_of
from kafka_cy.tools.groups import commands as groups
from kafka_cy.tools.groups import described
from kafka_cy.tools.output import note, output_option, print_table

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient


def time_ms(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time (UTC unless it names a zone); 0 before 1970. Raises click.UsageError."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--to-datetime must be like 2026-01-31T18:00:00, not {text!r}.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0, int(moment.timestamp() * 1000))  # -1 would ask for the end of the log


def duration_s(text: str) -> float:
    """Seconds of `90m`, `1d12h` or ISO 8601's `P1DT12H`. Raises click.UsageError."""
    word = text.upper()
    pattern = r"P?(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?"
    match = re.fullmatch(pattern, word)
    if match is None or not any(match.groups()):
        raise click.UsageError(f"--by-duration must be like 90m, 1d12h or PT2H30M, not {text!r}.")
    factors = (86_400.0, 3600.0, 60.0, 1.0)
    return sum(float(number or 0) * factor for number, factor in zip(match.groups(), factors, strict=True))


def start_time_ms(target: dict[str, Any]) -> int | None:
    """The time of `--to-datetime` or `--by-duration` in milliseconds since 1970. Raises click.UsageError."""
    if target["to_datetime"] is not None:
        return time_ms(target["to_datetime"])
    if target["by_duration"] is not None:
        return max(0, int((time.time() - duration_s(target["by_duration"])) * 1000))
    return None


def partitions_to_reset(
    admin: AdminClient, group: str, topics: tuple[str, ...], committed: dict[tuple[str, int], int]
) -> list[tuple[str, int]]:
    """All partitions of the named topics, or those with a committed offset. Raises ToolError.

    A group that does not exist can be reset for named topics, as in Kafka: that creates the group with these offsets.
    """
    if topics:
        return partitions_of(admin, topics)
    if not committed:
        described(admin, group)  # a share group that has not begun is none of librdkafka's: then there is no such group
        raise ToolError(f"Consumer group {group} has no committed offsets: name the topics with --topic.")
    return sorted(committed)


def new_offsets(
    admin: AdminClient,
    partitions: list[tuple[str, int]],
    committed: dict[tuple[str, int], int],
    target: dict[str, Any],
) -> dict[tuple[str, int], int]:
    """The new offset of each partition, limited to the log's range. Raises ToolError if that of one is not known now."""
    from confluent_kafka.admin import OffsetSpec

    def refuse(failure: str) -> None:
        raise ToolError(f"Nothing is reset. {failure}")

    earliest = log_offsets(admin, partitions, OffsetSpec.earliest(), refuse)
    latest = log_offsets(admin, partitions, OffsetSpec.latest(), refuse)
    if target.get("to_earliest"):
        return earliest
    if target.get("to_latest"):
        return latest
    known = [place for place in earliest if place in latest]  # a topic may be deleted meanwhile
    if target.get("since_ms") is not None:
        found = log_offsets(admin, partitions, OffsetSpec.for_timestamp(target["since_ms"]), refuse)
        return {place: found[place] if found.get(place, -1) >= 0 else latest[place] for place in known}
    if target.get("to_offset") is not None:
        wanted = dict.fromkeys(known, target["to_offset"])
    else:
        wanted = {place: committed.get(place, earliest[place]) + target["shift_by"] for place in known}
    return {place: min(max(wanted[place], earliest[place]), latest[place]) for place in known}


@groups.command("reset-offsets")
@click.argument("named", required=False, metavar="[GROUP]")
@click.option("-g", "--group", help="Group to reset; it must have no active members.")
@click.option(
    "-t",
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
@click.option("--by-duration", metavar="DURATION", help="First record of the last 90m, 2h, 1d12h or PT2H30M.")
@click.option("--shift-by", type=int, metavar="N", help="Move the offsets forward by N, or back if N is negative.")
@click.option("--execute", is_flag=True, help="Apply the change; without this option, only show it.")
@output_option
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
            "--by-duration, --shift-by."
        )
    target["since_ms"] = start_time_ms(target)
    admin = connect_admin(bootstrap_servers)
    shared = type_of(bootstrap_servers, chosen) == "Share"
    if shared:
        found = share_offsets(bootstrap_servers, chosen)
        committed = {place: each.start for place, each in found.items() if each.start is not None}
    else:
        committed = committed_offsets(admin, bootstrap_servers, chosen)
    offsets = new_offsets(admin, partitions_to_reset(admin, chosen, topics, committed), committed, target)
    if execute and offsets and shared:
        set_share_offsets(bootstrap_servers, chosen, offsets)
    elif execute and offsets:
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


@groups.command("delete-offsets")
@click.argument("named", required=False, metavar="[GROUP]")
@click.option("-g", "--group", help="Group whose committed offsets are deleted.")
@click.option(
    "-t",
    "--topic",
    "topics",
    multiple=True,
    required=True,
    metavar="TOPIC[:0,1]",
    help="Topic that the group no longer reads; may be repeated.",
)
@output_option
@bootstrap_option
def delete_offsets(named: str | None, group: str | None, topics: tuple[str, ...], bootstrap_servers: str) -> None:
    """Delete committed offsets of topics that the group no longer reads."""
    from kafka_cy.tools.raw_client import OFFSET_DELETE, coordinator_of, error_name, require_success

    chosen = group or named
    if chosen is None:
        raise click.UsageError("Name a group.")
    if type_of(bootstrap_servers, chosen) == "Share":
        if any(":" in topic for topic in topics):
            raise click.UsageError("A share group forgets whole topics: name them without partitions.")
        results = [(chosen, *row) for row in delete_share_offsets(bootstrap_servers, chosen, topics)]
        print_table(("GROUP", "TOPIC", "RESULT"), results)
        if any(row[2] != "deleted" for row in results):
            raise click.exceptions.Exit(1)
        return
    places = partitions_of(connect_admin(bootstrap_servers), topics)
    wanted: dict[str, list[dict[str, int]]] = {}
    for topic, index in places:
        wanted.setdefault(topic, []).append({"partition_index": index})
    listed = [{"name": topic, "partitions": partitions} for topic, partitions in wanted.items()]
    with coordinator_of(bootstrap_servers, chosen) as client:
        answer = client.request(OFFSET_DELETE, {"group_id": chosen, "topics": listed})
    require_success(answer.error_code, None, f"Consumer group {chosen}")
    rows = [
        (chosen, topic.name, each.partition_index, error_name(each.error_code) if each.error_code else "deleted")
        for topic in answer.topics
        for each in topic.partitions
    ]
    print_table(("GROUP", "TOPIC", "PARTITION", "RESULT"), rows)
    if any(row[3] != "deleted" for row in rows):
        raise click.exceptions.Exit(1)

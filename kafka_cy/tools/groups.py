"""`kafka-cy groups list|describe|delete`; groups_reset.py has the commands for offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kafka_cy.base.coordinator_retry import retry_while_coordinator_moves
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin, reason_of
from kafka_cy.tools.group_kinds import (
    TYPES,
    GroupMember,
    GroupState,
    Place,
    described_share,
    described_streams,
    listed_groups,
    share_offsets,
)
from kafka_cy.tools.group_offsets import committed_offsets, log_offsets
from kafka_cy.tools.output import Cell, note, output_option, print_table

if TYPE_CHECKING:
    from confluent_kafka import ConsumerGroupState
    from confluent_kafka.admin import AdminClient


@click.group("groups")
def commands() -> None:
    """List, describe, reset and delete consumer groups, share groups and streams groups."""


STATES = (
    "Stable", "PreparingRebalance", "CompletingRebalance", "Empty", "Dead", "Assigning", "Reconciling", "NotReady",
)  # fmt: skip


@commands.command("list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES, case_sensitive=False), help="Only this state."
)
@click.option(
    "--type", "types", multiple=True, type=click.Choice(TYPES, case_sensitive=False), help="Only groups of this type."
)
@output_option
@bootstrap_option
def list_groups(states: tuple[str, ...], types: tuple[str, ...], bootstrap_servers: str) -> None:
    """List all groups, their states and types."""
    rows = [
        row
        for row in listed_groups(bootstrap_servers)
        if (not states or row.state in states) and (not types or row.type in types)
    ]
    print_table(("GROUP", "STATE", "TYPE"), rows)


def state_name(state: ConsumerGroupState) -> str:
    """`PreparingRebalance` for the enumeration's PREPARING_REBALANCING, and so on, as Kafka's tools print it."""
    names = {"PREPARING_REBALANCING": "PreparingRebalance", "COMPLETING_REBALANCING": "CompletingRebalance"}
    name = str(state.name)
    return names.get(name, name.title().replace("_", ""))


def described(admin: AdminClient, group: str) -> Any:
    """The group's description. Raises ToolError if the group does not exist."""
    result = retry_while_coordinator_moves(
        lambda: admin.describe_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S), REQUEST_TIMEOUT_S
    )
    if state_name(result.state) == "Dead":
        raise ToolError(f"Consumer group {group} does not exist.")
    return result


@commands.command("describe")
@click.argument("named", nargs=-1, metavar="[GROUP]...")
@click.option("-g", "--group", "options", multiple=True, help="Group to describe; may be repeated.")
@click.option("--all-groups", is_flag=True, help="Describe all groups.")
@click.option("--members", is_flag=True, help="Show the members instead of offsets and lag.")
@click.option("--state", "only_state", is_flag=True, help="Show the group's state instead of offsets and lag.")
@output_option
@bootstrap_option
def describe(
    named: tuple[str, ...],
    options: tuple[str, ...],
    all_groups: bool,
    members: bool,
    only_state: bool,
    bootstrap_servers: str,
) -> None:
    """Show offsets and lag, members, or the state of groups."""
    names = [*named, *options]
    if not names and not all_groups:
        raise click.UsageError("Name a group to describe, or give --all-groups.")
    if members and only_state:
        raise click.UsageError("Give only one of --members and --state.")
    admin = connect_admin(bootstrap_servers)
    types = {each.group: each.type for each in listed_groups(bootstrap_servers)}
    rows: list[tuple[Cell, ...]] = []
    for name in list(types) if all_groups else names:
        kind = types.get(name, "")
        if kind in NEWER_KINDS:
            state = NEWER_KINDS[kind](bootstrap_servers, name)
        else:
            state = plain_state(described(admin, name))
        if only_state:
            rows.append((name, state.coordinator or None, state.assignor or None, state.state, len(state.members)))
        elif members:
            rows += [(name, *member[:3], len(member.partitions)) for member in state.members]
        else:
            rows += offset_rows(admin, bootstrap_servers, name, kind, state)
            if not state.members:
                note(f"{kind if kind in NEWER_KINDS else 'Consumer'} group {name} has no active members.")
    print_table(STATE_COLUMNS if only_state else MEMBER_COLUMNS if members else OFFSET_COLUMNS, rows)


STATE_COLUMNS = ("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS")
MEMBER_COLUMNS = ("GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS")
OFFSET_COLUMNS = (
    "GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID",
)  # fmt: skip


NEWER_KINDS = {"Share": described_share, "Streams": described_streams}


def plain_state(description: Any) -> GroupState:
    """A classic group or a consumer group, as librdkafka describes it."""
    coordinator = description.coordinator
    place = f"{coordinator.host}:{coordinator.port} ({coordinator.id})" if coordinator else ""
    members = []
    for member in description.members:
        assigned = member.assignment.topic_partitions if member.assignment else []
        places = [(each.topic, each.partition) for each in assigned]
        members.append(GroupMember(member.member_id, member.host, member.client_id, places))
    return GroupState(place, description.partition_assignor or "", state_name(description.state), members)


def offset_rows(
    admin: AdminClient, bootstrap_servers: str, group: str, kind: str, state: GroupState
) -> list[tuple[Cell, ...]]:
    """The cells of OFFSET_COLUMNS, one row per partition that has an offset or an owner. A share partition may have several."""
    from confluent_kafka.admin import OffsetSpec

    shared = share_offsets(bootstrap_servers, group) if kind == "Share" else {}
    offsets: dict[Place, int] = {place: each.start for place, each in shared.items() if each.start is not None}
    if kind != "Share":
        offsets = committed_offsets(admin, bootstrap_servers, group)
    owners: dict[Place, list[GroupMember]] = {}
    for member in state.members:
        for place in member.partitions:
            owners.setdefault(place, []).append(member)
    partitions = sorted({*offsets, *shared, *owners})
    ends = log_offsets(admin, partitions, OffsetSpec.latest())
    rows: list[tuple[Cell, ...]] = []
    for place in partitions:
        offset, end = offsets.get(place), ends.get(place)
        lag = None if offset is None or end is None else max(0, end - offset)
        if place in shared:
            lag = shared[place].lag
        readers = owners.get(place)
        owner: tuple[Cell, ...] = (None, None, None)
        if readers:
            owner = tuple(",".join(cells) for cells in zip(*(member[:3] for member in readers), strict=True))
        rows.append((group, *place, offset, end, lag, *owner))
    return rows


@commands.command("delete")
@click.argument("named", nargs=-1, metavar="[GROUP]...")
@click.option("-g", "--group", "options", multiple=True, help="Group to delete; may be repeated.")
@bootstrap_option
def delete(named: tuple[str, ...], options: tuple[str, ...], bootstrap_servers: str) -> None:
    """Delete groups that have no active members, with their offsets."""
    from confluent_kafka import KafkaException

    names = [*named, *options]
    if not names:
        raise click.UsageError("Name a group to delete.")
    admin = connect_admin(bootstrap_servers)
    failures = []
    for name in names:

        def delete_group(name: str = name) -> None:
            admin.delete_consumer_groups([name])[name].result(REQUEST_TIMEOUT_S)

        try:
            retry_while_coordinator_moves(delete_group, REQUEST_TIMEOUT_S)
            click.echo(f"Deleted group {name}.")
        except KafkaException as error:
            cause = error.args[0]
            failures.append(f"Group {name}: {reason_of(cause)} ({cause.name()}).")
    if failures:
        raise ToolError("\n".join(failures))

"""`kafka-cy groups list|describe|delete`; groups_reset.py has the commands for offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kafka_cy.base.coordinator_retry import retry_while_coordinator_moves
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin
from kafka_cy.tools.group_offsets import committed_offsets, log_offsets
from kafka_cy.tools.output import Cell, note, output_option, print_table

if TYPE_CHECKING:
    from confluent_kafka import ConsumerGroupState
    from confluent_kafka.admin import AdminClient


@click.group("groups")
def commands() -> None:
    """List, describe, reset and delete consumer groups."""


STATES = ("Stable", "PreparingRebalance", "CompletingRebalance", "Empty", "Dead", "Assigning", "Reconciling")


@commands.command("list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES, case_sensitive=False), help="Only this state."
)
@output_option
@bootstrap_option
def list_groups(states: tuple[str, ...], bootstrap_servers: str) -> None:
    """List all consumer groups and their states."""
    admin = connect_admin(bootstrap_servers)
    rows = [row for row in group_states(admin) if not states or row[1] in states]
    print_table(("GROUP", "STATE"), rows)


def group_states(admin: AdminClient) -> list[tuple[str, str]]:
    """(group, state) of all groups, sorted. Raises ToolError."""
    result = admin.list_consumer_groups().result(REQUEST_TIMEOUT_S)
    for error in result.errors:
        raise ToolError(f"Groups cannot be listed: {error}.")
    return sorted((group.group_id, state_name(group.state)) for group in result.valid)


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
    if all_groups:
        names = [name for name, _ in group_states(admin)]
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        description = described(admin, name)
        if only_state:
            rows.append(state_row(name, description))
        elif members:
            rows += member_rows(name, description)
        else:
            rows += offset_rows(admin, bootstrap_servers, name, description)
            if not description.members:
                note(f"Consumer group {name} has no active members.")
    print_table(STATE_COLUMNS if only_state else MEMBER_COLUMNS if members else OFFSET_COLUMNS, rows)


STATE_COLUMNS = ("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS")
MEMBER_COLUMNS = ("GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS")
OFFSET_COLUMNS = (
    "GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID",
)  # fmt: skip


def state_row(group: str, description: Any) -> tuple[Cell, ...]:
    """The cells of STATE_COLUMNS."""
    coordinator = description.coordinator
    place = f"{coordinator.host}:{coordinator.port} ({coordinator.id})" if coordinator else None
    state = state_name(description.state)
    return group, place, description.partition_assignor, state, len(description.members)


def member_rows(group: str, description: Any) -> list[tuple[Cell, ...]]:
    """The cells of MEMBER_COLUMNS, one row per member."""
    return [
        (group, member.member_id, member.host, member.client_id, len(member.assignment.topic_partitions))
        for member in description.members
    ]


def offset_rows(admin: AdminClient, bootstrap_servers: str, group: str, description: Any) -> list[tuple[Cell, ...]]:
    """The cells of OFFSET_COLUMNS, one row per partition that has a committed offset or an owner."""
    from confluent_kafka.admin import OffsetSpec

    committed = committed_offsets(admin, bootstrap_servers, group)
    owners = {
        (place.topic, place.partition): member
        for member in description.members
        for place in (member.assignment.topic_partitions if member.assignment else [])
    }
    partitions = sorted({*committed, *owners})
    ends = log_offsets(admin, partitions, OffsetSpec.latest())
    rows: list[tuple[Cell, ...]] = []
    for place in partitions:
        offset, end, member = committed.get(place), ends.get(place), owners.get(place)
        lag = None if offset is None or end is None else max(0, end - offset)
        owner = (member.member_id, member.host, member.client_id) if member else (None, None, None)
        rows.append((group, *place, offset, end, lag, *owner))
    return rows


@commands.command("delete")
@click.argument("named", nargs=-1, metavar="[GROUP]...")
@click.option("-g", "--group", "options", multiple=True, help="Group to delete; may be repeated.")
@bootstrap_option
def delete(named: tuple[str, ...], options: tuple[str, ...], bootstrap_servers: str) -> None:
    """Delete groups that have no active members, with their offsets."""
    names = [*named, *options]
    if not names:
        raise click.UsageError("Name a group to delete.")
    admin = connect_admin(bootstrap_servers)
    for name in names:

        def delete_group(name: str = name) -> None:
            admin.delete_consumer_groups([name])[name].result(REQUEST_TIMEOUT_S)

        retry_while_coordinator_moves(delete_group, REQUEST_TIMEOUT_S)
        click.echo(f"Deleted group {name}.")

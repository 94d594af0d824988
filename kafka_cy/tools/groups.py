"""`kafka-cy groups list|describe|delete`; kafka_cy.tools.groups_reset has `reset-offsets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kafka_cy.base.coordinator_retry import retry_while_coordinator_moves
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin
from kafka_cy.tools.group_offsets import committed_offsets, log_offsets
from kafka_cy.tools.output import note, print_table

if TYPE_CHECKING:
    from confluent_kafka import ConsumerGroupState
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
    result = retry_while_coordinator_moves(
        lambda: admin.describe_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S), REQUEST_TIMEOUT_S
    )
    if state_name(result.state) == "Dead":
        raise ToolError(f"Consumer group {group} does not exist.")
    return result


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
        describe_offsets(admin, bootstrap_servers, chosen, description)


def describe_offsets(admin: AdminClient, bootstrap_servers: str, group: str, description: Any) -> None:
    """Print one row per partition that has a committed offset or an owner."""
    from confluent_kafka.admin import OffsetSpec

    committed = committed_offsets(admin, bootstrap_servers, group)
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
    for name in names:

        def delete_group(name: str = name) -> None:
            admin.delete_consumer_groups([name])[name].result(REQUEST_TIMEOUT_S)

        retry_while_coordinator_moves(delete_group, REQUEST_TIMEOUT_S)
        click.echo(f"Deleted group {name}.")

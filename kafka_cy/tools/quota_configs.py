"""`kafka-cy configs` for users, client ids and addresses: their settings are quotas, which have APIs of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from kafka_cy.tools.output import print_table
from kafka_cy.tools.raw_client import ALTER_CLIENT_QUOTAS, DESCRIBE_CLIENT_QUOTAS, first_broker, require_success

#: Entity type of the command line -> that of the protocol.
QUOTA_TYPES = {"users": "user", "clients": "client-id", "ips": "ip"}
EXACT, DEFAULT = 0, 1
_OPTIONS = {"user": "user", "client": "client-id", "ip": "ip"}

Entity = dict[str, str | None]  # name by entity type of the protocol; None: the default


def quota_options(function: Any) -> Any:
    """Add the options that name users, client ids and addresses."""
    for option in reversed(
        (
            click.option("--user", help="A user; with --client, a client id of this user."),
            click.option("--user-defaults", is_flag=True, help="All users without quotas of their own."),
            click.option("--client", help="A client id."),
            click.option("--client-defaults", is_flag=True, help="All client ids without quotas of their own."),
            click.option("--ip", help="An address, or the name of a host."),
            click.option("--ip-defaults", is_flag=True, help="All addresses without a quota of their own."),
        )
    ):
        function = option(function)
    return function


def take_quota_entity(entity: dict[str, Any]) -> Entity:
    """The user, client id or address that the options name; empty if they name something else. Removes its options."""
    names: Entity = {}
    for option, kind in _OPTIONS.items():
        name, defaults = entity.pop(option), entity.pop(f"{option}_defaults")
        if name is not None and defaults:
            raise click.UsageError(f"Give --{option} or --{option}-defaults, not both.")
        if name is not None or defaults:
            names[kind] = name
    if entity["entity_type"] in QUOTA_TYPES:
        name = None if entity["entity_default"] else entity["entity_name"]
        if name is None and not entity["entity_default"]:
            raise click.UsageError("--entity-type requires --entity-name or --entity-default.")
        names[QUOTA_TYPES[entity["entity_type"]]] = name
        entity.update(entity_type=None, entity_name=None, entity_default=False)
    return names


def shown(names: Entity) -> str:
    """The entity in a sentence."""
    return ", ".join(f"default {kind}" if name is None else f"{kind} {name}" for kind, name in names.items())


def describe_quotas(bootstrap_servers: str, names: Entity) -> None:
    """Print the quotas of exactly this entity. Raises ToolError."""
    components = [
        {"entity_type": kind, "match_type": DEFAULT if name is None else EXACT, "match": name}
        for kind, name in names.items()
    ]
    with first_broker(bootstrap_servers) as client:
        answer = client.request(DESCRIBE_CLIENT_QUOTAS, {"components": components, "strict": True})
    require_success(answer.error_code, answer.error_message, shown(names))
    rows = [(value.key, f"{value.value:.15g}") for entry in answer.entries for value in entry.values]
    print_table(("NAME", "VALUE"), sorted(rows))


def alter_quotas(bootstrap_servers: str, names: Entity, changed: Mapping[str, str], removed: Sequence[str]) -> None:
    """Set and remove quotas of an entity. Raises ToolError, click.UsageError."""
    operations = [{"key": key, "value": _number(key, text), "remove": False} for key, text in changed.items()]
    operations += [{"key": key, "value": 0.0, "remove": True} for key in removed]
    entity = [{"entity_type": kind, "entity_name": name} for kind, name in names.items()]
    with first_broker(bootstrap_servers) as client:
        answer = client.request(
            ALTER_CLIENT_QUOTAS, {"entries": [{"entity": entity, "ops": operations}], "validate_only": False}
        )
    result = answer.entries[0]
    require_success(result.error_code, result.error_message, shown(names))
    click.echo(f"Changed the quotas of {shown(names)}.")


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"{key} is a number, not {text!r}.") from None

"""`kafka-cy configs describe|alter`: settings of topics, brokers, groups and client metrics subscriptions; client quotas."""

from __future__ import annotations

from typing import Any

import click

from kafka_cy.tools.client import ToolError, bootstrap_option, key_values
from kafka_cy.tools.output import output_option, print_table
from kafka_cy.tools.quota_configs import (
    QUOTA_TYPES,
    Entity,
    alter_quotas,
    describe_quotas,
    quota_options,
    shown,
    take_quota_entity,
)
from kafka_cy.tools.raw_client import (
    DESCRIBE_CONFIGS,
    INCREMENTAL_ALTER_CONFIGS,
    RawClient,
    first_broker,
    require_success,
)

#: Resource types of the configuration APIs (Kafka's ConfigResource.Type).
TYPES = {"topics": 2, "brokers": 4, "client-metrics": 16, "groups": 32}
SOURCES = {
    1: "DYNAMIC_TOPIC_CONFIG",
    2: "DYNAMIC_BROKER_CONFIG",
    3: "DYNAMIC_DEFAULT_BROKER_CONFIG",
    4: "STATIC_BROKER_CONFIG",
    5: "DEFAULT_CONFIG",
    6: "DYNAMIC_BROKER_LOGGER_CONFIG",
    7: "DYNAMIC_CLIENT_METRICS_CONFIG",
    8: "DYNAMIC_GROUP_CONFIG",
}
#: Sources of the settings that were made for the resource itself; others are inherited or defaults.
OWN_SOURCES = {"topics": {1}, "brokers": {2, 3}, "client-metrics": {7}, "groups": {8}}
SET, DELETE = 0, 1


def entity_options(function: Any) -> Any:
    """Add `--entity-type`, `--entity-name` and `--entity-default`, and the short forms `--topic` and so on."""
    for option in reversed(
        (
            click.option("--entity-type", type=click.Choice([*TYPES, *QUOTA_TYPES]), help="What --entity-name names."),
            click.option("--entity-name", help="Topic, broker id, group, subscription, user, client id or address."),
            click.option(
                "--entity-default", is_flag=True, help="The default of all brokers, users, client ids or addresses."
            ),
            click.option("-t", "--topic", help="Short for --entity-type topics --entity-name TOPIC."),
            click.option("--broker", help="Short for --entity-type brokers --entity-name ID."),
            click.option("-g", "--group", help="Short for --entity-type groups --entity-name GROUP."),
            click.option("--client-metrics", help="Short for --entity-type client-metrics --entity-name NAME."),
        )
    ):
        function = option(function)
    return quota_options(function)


def resource_of(entity: dict[str, Any]) -> tuple[str, str]:
    """(entity type, name) of the options; the name of a default is empty. Raises click.UsageError."""
    short = {"topics": "topic", "brokers": "broker", "groups": "group", "client-metrics": "client_metrics"}
    given = [(kind, entity[option]) for kind, option in short.items() if entity[option] is not None]
    if entity["entity_type"] is not None:
        if entity["entity_default"] and entity["entity_type"] != "brokers":
            raise click.UsageError("--entity-default is for brokers, users, clients and ips.")
        name = "" if entity["entity_default"] else entity["entity_name"]
        if name is None:
            raise click.UsageError("--entity-type requires --entity-name.")
        given.append((entity["entity_type"], name))
    if len(given) != 1:
        wanted = "only one" if given else "one"
        raise click.UsageError(
            f"Name {wanted} topic, broker, group, client metrics subscription, user, client id or address."
        )
    kind, name = given[0]
    if kind == "brokers" and name and not name.isdigit():
        raise click.UsageError(f"A broker is named by its id, not {name!r}.")
    return kind, name


def check_only(quota_entity: Entity, entity: dict[str, Any]) -> None:
    """Raise click.UsageError if the options name something else besides a user, client id or address."""
    if any(value for value in entity.values()):
        raise click.UsageError(f"Name only {shown(quota_entity)}, or something else.")


def responsible(bootstrap_servers: str, kind: str, name: str) -> RawClient:
    """A connection to the broker that answers for a resource: for a broker's settings that broker. Raises ToolError."""
    if kind != "brokers" or not name:
        return first_broker(bootstrap_servers)
    from kafka_cy.tools.client import REQUEST_TIMEOUT_S, connect_admin

    brokers = connect_admin(bootstrap_servers).list_topics(timeout=REQUEST_TIMEOUT_S).brokers
    if int(name) not in brokers:
        raise ToolError(f"There is no broker {name}.")
    return RawClient(f"{brokers[int(name)].host}:{brokers[int(name)].port}")


@click.group("configs")
def commands() -> None:
    """Show and change settings of topics, brokers, groups and client metrics, and quotas of clients."""


@commands.command("describe")
@entity_options
@click.option("--all", "every", is_flag=True, help="Include defaults and the settings of the broker's file.")
@output_option
@bootstrap_option
def describe(every: bool, bootstrap_servers: str, **entity: Any) -> None:
    """Show the settings of one topic, broker, group or client metrics subscription, or the quotas of a client."""
    quota_entity = take_quota_entity(entity)
    if quota_entity:
        check_only(quota_entity, entity)
        describe_quotas(bootstrap_servers, quota_entity)
        return
    kind, name = resource_of(entity)
    resource = {"resource_type": TYPES[kind], "resource_name": name, "configuration_keys": None}
    with responsible(bootstrap_servers, kind, name) as client:
        answer = client.request(DESCRIBE_CONFIGS, {"resources": [resource]})
    result = answer.results[0]
    require_success(result.error_code, result.error_message, f"{kind} {name or 'default'}")
    rows = [
        (entry.name, "(sensitive)" if entry.is_sensitive else entry.value, SOURCES.get(entry.config_source, "UNKNOWN"))
        for entry in sorted(result.configs, key=lambda each: str(each.name))
        if every or entry.config_source in OWN_SOURCES[kind]
    ]
    print_table(("NAME", "VALUE", "SOURCE"), rows)


@commands.command("alter")
@entity_options
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting to change; may be repeated.")
@click.option("--delete", "deleted", multiple=True, metavar="KEY", help="Setting to remove; may be repeated.")
@click.option(
    "--add-config", "added", multiple=True, metavar="K=V,K=V", help="As --set, in Kafka's form: K=[a,b] for lists."
)
@click.option("--delete-config", "removed", multiple=True, metavar="K,K", help="As --delete, in Kafka's form.")
@bootstrap_option
def alter(
    settings: tuple[str, ...],
    deleted: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
    bootstrap_servers: str,
    **entity: Any,
) -> None:
    """Change or remove settings; all others stay as they are."""
    changed = {**key_values(settings, "--set"), **key_values(split_settings(",".join(added)), "--add-config")}
    gone = [*deleted, *(key for word in removed for key in word.split(",") if key)]
    if not changed and not gone:
        raise click.UsageError("Give --set KEY=VALUE or --delete KEY.")
    quota_entity = take_quota_entity(entity)
    if quota_entity:
        check_only(quota_entity, entity)
        alter_quotas(bootstrap_servers, quota_entity, changed, gone)
        return
    kind, name = resource_of(entity)
    configs = [{"name": key, "config_operation": SET, "value": value} for key, value in changed.items()]
    configs += [{"name": key, "config_operation": DELETE, "value": None} for key in gone]
    resource = {"resource_type": TYPES[kind], "resource_name": name, "configs": configs}
    with responsible(bootstrap_servers, kind, name) as client:
        answer = client.request(INCREMENTAL_ALTER_CONFIGS, {"resources": [resource], "validate_only": False})
    result = answer.responses[0]
    require_success(result.error_code, result.error_message, f"{kind} {name or 'default'}")
    click.echo(f"Changed the settings of {kind} {name or 'default'}.")


def split_settings(text: str) -> list[str]:
    """The `K=V` words of a comma-separated list. A value in square brackets may contain commas, as in Kafka."""
    words, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            words.append("")
        else:
            words[-1] += character
    stripped = (word.strip() for word in words if word.strip())
    return [word.replace("=[", "=", 1).removesuffix("]") if "=[" in word else word for word in stripped]

"""`kafka-cy topics create|list|describe|alter|delete`."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin, key_values, reason_of
from kafka_cy.tools.output import json_wanted, note, output_option, print_json, print_table

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

#: librdkafka's admin client sends no others.
PARTITIONS, REPLICAS = click.IntRange(1, 100_000), click.IntRange(1, 10_000)


@click.group("topics")
def commands() -> None:
    """Create, list, describe, alter and delete topics."""


def chosen_topics(named: tuple[str, ...], options: tuple[str, ...]) -> list[str]:
    """Topics given as words and by `--topic` (a comma-separated list, as in Kafka)."""
    return [*named, *(name for option in options for name in option.split(",") if name)]


def topics_to(verb: str, named: tuple[str, ...], options: tuple[str, ...]) -> list[str]:
    """The chosen topics. Raises UsageError if there is none."""
    names = chosen_topics(named, options)
    if not names:
        raise click.UsageError(f"Name a topic to {verb}.")
    return names


def outcome(future: Future[Any], name: str, *, ignored_error: str | None = None) -> bool:
    """Wait for an admin call on one topic. Returns False for `ignored_error`, raises ToolError for any other error."""
    from confluent_kafka import KafkaException

    try:
        future.result(REQUEST_TIMEOUT_S)
    except KafkaException as error:
        cause = error.args[0]
        if cause.name() == ignored_error:
            return False
        raise ToolError(f"Topic {name}: {reason_of(cause)} ({cause.name()}).") from error
    return True


def report(futures: Mapping[str, Future[Any]], sentence: str, *, ignored_error: str | None = None) -> None:
    """Print what became of an admin call on each topic. Raises ToolError at the end if one failed."""
    failures = []
    for name, future in futures.items():
        try:
            if outcome(future, name, ignored_error=ignored_error):
                click.echo(sentence.format(name))
        except ToolError as error:
            failures.append(str(error))
    if failures:
        raise ToolError("\n".join(failures))


@commands.command("create")
@click.argument("named", nargs=-1, metavar="[TOPIC]...")
@click.option("-t", "--topic", "options", multiple=True, help="Topic to create; may be repeated.")
@click.option("-p", "--partitions", type=PARTITIONS, help="Number of partitions (default: the broker's).")
@click.option("-r", "--replication-factor", type=REPLICAS, help="Replicas (default: the broker's).")
@click.option("--config", "configs", multiple=True, metavar="KEY=VALUE", help="Topic configuration; may be repeated.")
@click.option("--if-not-exists", is_flag=True, help="An existing topic is not an error.")
@bootstrap_option
def create(
    named: tuple[str, ...],
    options: tuple[str, ...],
    partitions: int | None,
    replication_factor: int | None,
    configs: tuple[str, ...],
    if_not_exists: bool,
    bootstrap_servers: str,
) -> None:
    """Create topics."""
    from confluent_kafka.admin import NewTopic

    names = topics_to("create", named, options)
    config = key_values(configs, "--config")
    admin = connect_admin(bootstrap_servers)
    new = [
        NewTopic(
            name,
            num_partitions=-1 if partitions is None else partitions,
            replication_factor=-1 if replication_factor is None else replication_factor,
            config=config,
        )
        for name in names
    ]
    ignored_error = "TOPIC_ALREADY_EXISTS" if if_not_exists else None
    report(admin.create_topics(new), "Created topic {}.", ignored_error=ignored_error)


@commands.command("list")
@click.option("--exclude-internal", is_flag=True, help="Leave out topics such as __consumer_offsets.")
@output_option
@bootstrap_option
def list_topics(exclude_internal: bool, bootstrap_servers: str) -> None:
    """List the names of all topics."""
    admin = connect_admin(bootstrap_servers)
    metadata = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    names = [name for name in sorted(metadata.topics) if not (exclude_internal and name.startswith("__"))]
    if json_wanted():
        print_json([{"topic": name, "partitions": len(metadata.topics[name].partitions)} for name in names])
        return
    for name in names:
        click.echo(name)


def set_configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """The configuration set on each topic."""
    from confluent_kafka.admin import ConfigResource, ConfigSource

    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    result = {}
    for resource, future in admin.describe_configs(resources).items():
        entries = future.result(REQUEST_TIMEOUT_S).values()
        own = [entry for entry in entries if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value]
        result[resource.name] = {entry.name: entry.value for entry in sorted(own, key=lambda e: e.name)}
    return result


@commands.command("describe")
@click.argument("named", nargs=-1, metavar="[TOPIC]...")
@click.option("-t", "--topic", "options", multiple=True, help="Topic to describe; may be repeated (default: all).")
@click.option("--under-replicated-partitions", is_flag=True, help="Only partitions with a replica that is not in sync.")
@click.option("--unavailable-partitions", is_flag=True, help="Only partitions without a leader.")
@output_option
@bootstrap_option
def describe(
    named: tuple[str, ...],
    options: tuple[str, ...],
    under_replicated_partitions: bool,
    unavailable_partitions: bool,
    bootstrap_servers: str,
) -> None:
    """Show partitions, leaders, replicas and configuration of topics."""
    from confluent_kafka import TopicCollection

    admin = connect_admin(bootstrap_servers)
    names = chosen_topics(named, options) or sorted(admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics)
    if not names:
        if json_wanted():
            print_json([])
        note("There are no topics.")
        return
    futures = admin.describe_topics(TopicCollection(names))
    for name, future in futures.items():
        outcome(future, name)
    rows = {
        name: [
            partition_row(name, each)
            for each in futures[name].result().partitions
            if (not under_replicated_partitions or len(each.isr) < len(each.replicas))
            and (not unavailable_partitions or not has_leader(each))
        ]
        for name in names
    }
    if under_replicated_partitions or unavailable_partitions:
        print_table(PARTITION_COLUMNS, [row for name in names for row in rows[name]])
        return
    configs = set_configs(admin, names)
    if json_wanted():
        print_json([topic_object(futures[name].result(), configs[name], rows[name]) for name in names])
        return
    for name in names:
        topic = futures[name].result()
        shown = ",".join(f"{key}={value}" for key, value in configs[name].items())
        click.echo(
            f"Topic: {name}\tTopicId: {topic_id(topic)}\tPartitionCount: {len(topic.partitions)}\t"
            f"ReplicationFactor: {replication_factor_of(topic)}\tConfigs: {shown}"
        )
        print_table(PARTITION_COLUMNS, rows[name])


PARTITION_COLUMNS = ("Topic", "Partition", "Leader", "Replicas", "Isr")


def has_leader(partition: Any) -> bool:
    """Whether a described partition has a leader."""
    return partition.leader is not None and partition.leader.id >= 0


def partition_row(name: str, partition: Any) -> tuple[str, int, int | None, str, str]:
    """The cells of PARTITION_COLUMNS."""
    return (
        name,
        partition.id,
        partition.leader.id if has_leader(partition) else None,
        ",".join(str(node.id) for node in partition.replicas),
        ",".join(str(node.id) for node in partition.isr),
    )


def topic_id(topic: Any) -> str:
    """The id as Kafka prints it: librdkafka's text is plain base64, Kafka's is base64url."""
    return str(topic.topic_id).replace("+", "-").replace("/", "_")


def replication_factor_of(topic: Any) -> int:
    """Replicas of the first partition."""
    return len(topic.partitions[0].replicas) if topic.partitions else 0


def topic_object(topic: Any, configs: dict[str, str], rows: list[tuple[str, int, int | None, str, str]]) -> object:
    """A topic for `-o json`."""
    return {
        "topic": topic.name,
        "topic_id": topic_id(topic),
        "replication_factor": replication_factor_of(topic),
        "configs": configs,
        "partitions": [
            {
                "partition": row[1],
                "leader": row[2],
                "replicas": [int(number) for number in row[3].split(",") if number],
                "isr": [int(number) for number in row[4].split(",") if number],
            }
            for row in rows
        ],
    }


@commands.command("alter")
@click.argument("named", nargs=-1, metavar="[TOPIC]...")
@click.option("-t", "--topic", "options", multiple=True, help="Topic to alter; may be repeated.")
@click.option("-p", "--partitions", type=PARTITIONS, required=True, help="New number of partitions.")
@bootstrap_option
def alter(named: tuple[str, ...], options: tuple[str, ...], partitions: int, bootstrap_servers: str) -> None:
    """Add partitions to topics. `kafka-cy configs alter` changes settings."""
    from confluent_kafka.admin import NewPartitions

    names = topics_to("alter", named, options)
    admin = connect_admin(bootstrap_servers)
    futures = admin.create_partitions([NewPartitions(name, partitions) for name in names])
    report(futures, f"Topic {{}} has {partitions} partitions now.")


@commands.command("delete")
@click.argument("named", nargs=-1, metavar="[TOPIC]...")
@click.option("-t", "--topic", "options", multiple=True, help="Topic to delete; may be repeated.")
@click.option("--if-exists", is_flag=True, help="A missing topic is not an error.")
@bootstrap_option
def delete(named: tuple[str, ...], options: tuple[str, ...], if_exists: bool, bootstrap_servers: str) -> None:
    """Delete topics with all their records."""
    names = topics_to("delete", named, options)
    admin = connect_admin(bootstrap_servers)
    ignored_error = "UNKNOWN_TOPIC_OR_PART" if if_exists else None
    report(admin.delete_topics(names), "Deleted topic {}.", ignored_error=ignored_error)

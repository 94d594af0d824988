"""`kafka-cy cluster`, `broker-api-versions` and `log-dirs`: what the brokers are, support and store."""

from __future__ import annotations

from typing import Any

import click

from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, connect_admin
from kafka_cy.tools.local_cluster.command import start
from kafka_cy.tools.output import Cell, json_wanted, output_option, print_json, print_table
from kafka_cy.tools.raw_client import DESCRIBE_LOG_DIRS, RawClient, error_name, require_success


@click.group("cluster", invoke_without_command=True)
@click.option("--internal", is_flag=True, help="Include Kafka's internal topics.")
@output_option
@bootstrap_option
@click.pass_context
def cluster(context: click.Context, internal: bool, bootstrap_servers: str) -> None:
    """Show the cluster: its id, brokers and topics. With `start`: run a cluster on this machine."""
    if context.invoked_subcommand is None:
        show_cluster(internal, bootstrap_servers)


cluster.add_command(start)


def show_cluster(internal: bool, bootstrap_servers: str) -> None:
    """Print the cluster. Raises ToolError."""
    admin = connect_admin(bootstrap_servers)
    metadata = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    topics = {name: topic for name, topic in sorted(metadata.topics.items()) if internal or not name.startswith("__")}
    brokers = sorted(metadata.brokers.values(), key=lambda each: int(each.id))
    broker_rows = [
        (each.id, f"{each.host}:{each.port}", "yes" if each.id == metadata.controller_id else "no") for each in brokers
    ]
    topic_rows = [topic_row(name, topic) for name, topic in topics.items()]
    columns = ("TOPIC", "PARTITIONS", "REPLICATION-FACTOR", "UNDER-REPLICATED", "UNAVAILABLE")
    if json_wanted():
        keys = ("topic", "partitions", "replication_factor", "under_replicated", "unavailable")
        print_json(
            {
                "cluster_id": metadata.cluster_id,
                "brokers": [{"id": row[0], "address": row[1], "controller": row[2] == "yes"} for row in broker_rows],
                "topics": [dict(zip(keys, row, strict=True)) for row in topic_rows],
            }
        )
        return
    click.echo(f"Cluster: {metadata.cluster_id}\n")
    print_table(("BROKER", "ADDRESS", "CONTROLLER"), broker_rows)
    if topic_rows:
        click.echo()
        print_table(columns, topic_rows)


def topic_row(name: str, topic: Any) -> tuple[str, int, int, int, int]:
    """(name, partitions, replication factor, under-replicated partitions, partitions without a leader)"""
    partitions = list(topic.partitions.values())
    return (
        name,
        len(partitions),
        max((len(each.replicas) for each in partitions), default=0),
        sum(len(each.isrs) < len(each.replicas) for each in partitions),
        sum(each.leader < 0 for each in partitions),
    )


def broker_addresses(bootstrap_servers: str) -> dict[int, str]:
    """The addresses of all brokers by their ids. Raises ToolError."""
    brokers = connect_admin(bootstrap_servers).list_topics(timeout=REQUEST_TIMEOUT_S).brokers
    return {number: f"{brokers[number].host}:{brokers[number].port}" for number in sorted(brokers)}


@click.command("broker-api-versions")
@output_option
@bootstrap_option
def broker_api_versions(bootstrap_servers: str) -> None:
    """Show the APIs that each broker supports, with their versions."""
    rows: list[tuple[Cell, ...]] = []
    for number, address in broker_addresses(bootstrap_servers).items():
        with RawClient(address) as client:
            versions = client.api_versions()
        rows += [(number, key, api_name(key), *versions[key]) for key in sorted(versions)]
    print_table(("BROKER", "KEY", "API", "MIN-VERSION", "MAX-VERSION"), rows)


def api_name(api_key: int) -> str:
    """`Produce` for 0; `-` for a key that is not known here."""
    from kafka_cy.protocol.schema import message_class, versions

    try:
        return message_class(api_key, versions(api_key)[-1], "request").__name__.removesuffix("Request")
    except (KeyError, IndexError):
        return "-"


@click.command("log-dirs")
@click.option("--broker", "brokers", type=int, multiple=True, help="Broker id; may be repeated (default: all).")
@click.option("-t", "--topic", "topics", multiple=True, help="Only this topic; may be repeated.")
@click.option("--partitions", "by_partition", is_flag=True, help="One row per partition instead of per directory.")
@output_option
@bootstrap_option
def log_dirs(brokers: tuple[int, ...], topics: tuple[str, ...], by_partition: bool, bootstrap_servers: str) -> None:
    """Show the brokers' log directories: the size of their partitions and of the disk."""
    rows: list[tuple[Cell, ...]] = []
    addresses = broker_addresses(bootstrap_servers)
    for number in brokers:
        if number not in addresses:
            raise ToolError(f"There is no broker {number}.")
    for number, address in addresses.items():
        if brokers and number not in brokers:
            continue
        with RawClient(address) as client:
            answer = client.request(DESCRIBE_LOG_DIRS, {"topics": None})
        require_success(getattr(answer, "error_code", 0), None, f"Broker {number}")
        for folder in answer.results:
            sizes = {
                (topic.name, each.partition_index): each.partition_size
                for topic in folder.topics
                if not topics or topic.name in topics
                for each in topic.partitions
            }
            if by_partition:
                rows += [(number, folder.log_dir, *place, size) for place, size in sorted(sizes.items())]
                continue
            state = error_name(folder.error_code) if folder.error_code else "online"
            disk = (known(getattr(folder, "total_bytes", -1)), known(getattr(folder, "usable_bytes", -1)))
            rows.append((number, folder.log_dir, state, len(sizes), sum(sizes.values()), *disk))
    if by_partition:
        print_table(("BROKER", "LOG-DIR", "TOPIC", "PARTITION", "SIZE"), rows)
    else:
        print_table(("BROKER", "LOG-DIR", "STATE", "PARTITIONS", "SIZE", "DISK-TOTAL", "DISK-USABLE"), rows)


def known(value: int) -> int | None:
    """None for the -1 of a broker that does not know."""
    return value if value >= 0 else None

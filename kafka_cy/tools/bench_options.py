"""The options and the workloads of `kafka-cy bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kafka_cy.tools.bench_export import OutputFile

#: Words of --acks.
ACKS = {"0": 0, "1": 1, "all": -1, "-1": -1}
POSITIVE = click.IntRange(min=1)
SECONDS = click.FloatRange(min=0, min_open=True)
STARTED = ("broker", "kafka_jars", "broker_config")
WHERE = ("bootstrap_servers", *STARTED, "command_properties", "command_config")
TOPIC = ("topic", "partitions", "replication_factor", "topic_config")
HOW_LONG = ("num_records", "duration", "warm_up", "throughput")
RECORDS = (
    "record_size",
    "random_bytes_ratio",
    "key_distribution",
    "keys",
    "payload_file",
    "payload_delimiter",
    "batch_size",
    "batch_records",
    "compression_type",
)
PRODUCING = (*RECORDS, "producers", "acks", "linger_ms", "max_in_flight", "producer_props")
FETCHING = ("consumers", "fetch_size", "fetch_min_bytes", "fetch_max_wait_ms", "consumer_props")
OUTPUT = ("json_path", "label")

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
OPTIONS: dict[str, Option] = {
    "bootstrap_servers": click.option(
        "-b", "--bootstrap-server", "bootstrap_servers", metavar="HOST:PORT",
        help="Broker to load (default: start one in a temporary folder).",
    ),
    "broker": click.option(
        "--broker", type=click.Choice(["kafka-cy", "apache-kafka"]), default="kafka-cy", show_default=True,
        help="Broker to start without --bootstrap-server.",
    ),
    "kafka_jars": click.option(
        "--kafka-jars", metavar="FOLDER",
        help="Apache Kafka's jars: libs in its download (default: where scripts/install-kafka.sh of the repository puts them).",
    ),
    "broker_config": click.option(
        "--broker-config", multiple=True, metavar="KEY=VALUE", help="Setting of the broker that is started; may be repeated.",
    ),
    "command_properties": click.option(
        "--command-property", "command_properties", multiple=True, metavar="KEY=VALUE",
        help="Client setting, such as security.protocol=SSL (librdkafka's names); may be repeated.",
    ),
    "command_config": click.option(
        "--command-config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
        help="A file of client settings.",
    ),
    "generator": click.option(
        "--generator", type=click.Choice(["native", "librdkafka"]), default="native", show_default=True,
        help="Pre-encoded requests (measures the broker), or real clients.",
    ),
    "topic": click.option("--topic", help="Topic to use (default: create one and delete it afterwards)."),
    "partitions": click.option("--partitions", type=POSITIVE, metavar="N", help="Partitions of a topic that is created."),
    "replication_factor": click.option(
        "--replication-factor", type=POSITIVE, default=1, show_default=True, metavar="N"
    ),
    "topic_config": click.option(
        "--topic-config", multiple=True, metavar="KEY=VALUE", help="Setting of a topic that is created; may be repeated."
    ),
    "num_records": click.option("--num-records", type=POSITIVE, metavar="N", help="Stop after this number of records."),
    "duration": click.option(
        "--duration", type=SECONDS, metavar="SECONDS", help="Stop after this time (default: 10 without --num-records).",
    ),
    "warm_up": click.option(
        "--warm-up", type=click.FloatRange(min=0), default=1.0, show_default=True, metavar="SECONDS",
        help="Warm-up before the measurement starts.",
    ),
    "throughput": click.option(
        "--throughput", type=float, default=-1, show_default=True, metavar="N",
        help="Records per second in total; -1: as fast as possible.",
    ),
    "record_size": click.option("--record-size", type=POSITIVE, default=100, show_default=True, metavar="BYTES"),
    "random_bytes_ratio": click.option(
        "--random-bytes-ratio", type=click.FloatRange(0, 1), default=1.0, show_default=True,
        help="Share of each value that is incompressible.",
    ),
    "key_distribution": click.option(
        "--key-distribution", type=click.Choice(["none", "round-robin", "random", "zipf"]), default="none",
        show_default=True,
    ),
    "keys": click.option("--keys", type=POSITIVE, default=10_000, show_default=True, help="Number of different keys."),
    "payload_file": click.option("--payload-file", metavar="FILE", help="File whose lines are sent as records."),
    "payload_delimiter": click.option(
        "--payload-delimiter", default="\\n", show_default=True, help="Delimiter after each payload in the file."
    ),
    "batch_size": click.option("--batch-size", type=POSITIVE, default=16_384, show_default=True, metavar="BYTES"),
    "batch_records": click.option(
        "--batch-records", type=POSITIVE, metavar="N", help="Records per batch, instead of its size (native)."
    ),
    "compression_type": click.option(
        "--compression-type", type=click.Choice(["none", "gzip", "snappy", "lz4", "zstd"]), default="none",
        show_default=True,
    ),
    "producers": click.option(
        "--producers", "--connections", type=POSITIVE, metavar="N", help="Producing connections (native) or librdkafka clients.",
    ),
    "acks": click.option("--acks", type=click.Choice(list(ACKS)), default="1", show_default=True),
    "linger_ms": click.option(
        "--linger-ms", type=click.FloatRange(min=0), default=5, show_default=True, help="linger.ms of librdkafka."
    ),
    "max_in_flight": click.option(
        "--max-in-flight", type=click.IntRange(1, 1024), default=5, show_default=True, metavar="N",
        help="Requests in flight per connection.",
    ),
    "producer_props": click.option(
        "--producer-props", multiple=True, metavar="KEY=VALUE", help="Setting of the producers; may be repeated."
    ),
    "consumers": click.option("--consumers", type=POSITIVE, default=4, show_default=True, metavar="N"),
    "fetch_size": click.option("--fetch-size", type=POSITIVE, default=1_048_576, show_default=True, metavar="BYTES"),
    "fetch_min_bytes": click.option("--fetch-min-bytes", type=click.IntRange(min=0), default=1, show_default=True),
    "fetch_max_wait_ms": click.option(
        "--fetch-max-wait-ms", type=click.IntRange(min=0), default=500, show_default=True
    ),
    "consumer_props": click.option(
        "--consumer-props", multiple=True, metavar="KEY=VALUE", help="Setting of the consumers; may be repeated."
    ),
    "idle_connections": click.option(
        "--idle-connections", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
        help="Additional connections that send nothing.",
    ),
    "groups": click.option("--groups", type=POSITIVE, default=100, show_default=True, metavar="N"),
    "members": click.option(
        "--members", type=POSITIVE, default=2, show_default=True, metavar="N", help="Members of each group."
    ),
    "starts": click.option("--starts", type=POSITIVE, metavar="N", help="Number of starts (default: 10; recovery: 3)."),
    "log_bytes": click.option(
        "--log-bytes", type=POSITIVE, default=1_000_000_000, show_default=True, metavar="BYTES",
        help="Bytes written before each crash.",
    ),
    "group_protocol": click.option(
        "--group-protocol", type=click.Choice(["classic", "consumer"]), default="classic", show_default=True,
    ),
    "member_kind": click.option(
        "--member-kind", type=click.Choice(["consumer", "static", "regex", "share", "streams"]), default="consumer",
        show_default=True, help="Static consumers, regular expressions, share groups, streams groups.",
    ),
    "json_path": click.option(
        "--json", "json_path", type=OutputFile(), metavar="FILE",
        help="Write every sample and a description of the machine.",
    ),
    "label": click.option("--label", metavar="TEXT", help="Name of the run in reports."),
}  # fmt: skip

#: Workload: (its help, its options, defaults that differ from LoadOptions').
WORKLOADS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "produce": (
        "Producers, as fast as possible or at a rate.",
        (*WHERE, "generator", *TOPIC, *HOW_LONG, *PRODUCING),
        {},
    ),
    "consume": (
        "Consumers that read a topic from start to end.\n\nWithout --topic, a new topic is filled first.",
        (*WHERE, "generator", *TOPIC, *HOW_LONG, *RECORDS, *FETCHING),
        {},
    ),
    "end-to-end": (
        "The time from when a record is due until a consumer has it.",
        (*WHERE, "generator", *TOPIC, *HOW_LONG, *PRODUCING, *FETCHING),
        {"batch_records": 1},
    ),
    "mixed": (
        "Producers, and consumers that follow them.\n\nCounts include both; latency is that of producing.",
        (*WHERE, "generator", *TOPIC, *HOW_LONG, *PRODUCING, *FETCHING),
        {},
    ),
    "many-partitions": (
        "Producers that write to thousands of partitions in turn.",
        (*WHERE, "generator", *TOPIC, *HOW_LONG, *PRODUCING),
        {"partitions": 1000, "batch_records": 1},
    ),
    "many-connections": (
        "Thousands of producing connections, and idle ones.",
        (*WHERE, "generator", *TOPIC, *HOW_LONG, *PRODUCING, "idle_connections"),
        {"producers": 1000, "batch_records": 1, "in_flight": 1},
    ),
    "groups": (
        "Consumer groups.\n\nNative: commits offsets of the groups in turn. librdkafka: members join and read.",
        (*WHERE, "generator", *TOPIC, *HOW_LONG, "producers", "max_in_flight", "groups", "members", "consumer_props"),
        {"in_flight": 1},
    ),
    "transactions": (
        "Transactions of librdkafka's producers, from begin to committed; --batch-records are their records.",
        (*WHERE, *TOPIC, "duration", "warm_up", *RECORDS, "producers", "producer_props"),
        {"generator": "librdkafka", "producers": 1, "batch_records": 10},
    ),
    "share-group": (
        "A share group whose members fetch and acknowledge a topic that is filled first.",
        (*WHERE, *TOPIC, "duration", "warm_up", *RECORDS, "consumers"),
        {},
    ),
    "group-members": (
        "The time until a group is stable whose members all join at once.",
        (*WHERE, *TOPIC, "duration", "members", "group_protocol"),
        {"members": 1000, "warm_up_s": 0.0},
    ),
    "idle-members": (
        "Heartbeats of the newer kinds of groups to whose members nothing happens.",
        (*WHERE, *TOPIC, "duration", "warm_up", "throughput", "producers", "groups", "members", "member_kind"),
        {"producers": 100, "batch_records": 1, "groups": 10},
    ),
    "recovery": (
        "Fill a log, kill the broker with SIGKILL, and measure the time until it serves every record again.",
        (*STARTED, "partitions", "starts", "log_bytes", *RECORDS),
        {"starts": 3},
    ),
    "start": (
        "The time from exec to the first response, with CPU time and memory.",
        (*STARTED, "starts"),
        {},
    ),
}

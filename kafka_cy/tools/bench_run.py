"""`kafka-cy bench produce|consume|...`: one workload against one broker."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.bench_export import OutputFile, command_line, export_options, export_results
from kafka_cy.tools.client import ToolError, key_values, librdkafka_settings, read_properties
from kafka_cy.tools.output import note

if TYPE_CHECKING:
    from kafka_cy.bench.brokers import Restartable, Target
    from kafka_cy.bench.load_options import LoadOptions
    from kafka_cy.bench.results import Kind, Results, Run

EXIT_INTERRUPTED = 130
FOREVER_S = 10.0 * 365 * 86400
NO_LIMIT = -1
ACKS = {"0": 0, "1": 1, "all": -1, "-1": -1}

#: Client settings that are options of every generator, by Kafka's names: the option, and its type.
KNOWN_PROPERTIES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "acks": ("acks", lambda text: ACKS[text]),
    "batch.size": ("batch_size", int),
    "compression.type": ("compression", str),
    "linger.ms": ("linger_ms", float),
    "max.in.flight.requests.per.connection": ("in_flight", int),
    "max.partition.fetch.bytes": ("fetch_bytes", int),
    "fetch.min.bytes": ("fetch_min_bytes", int),
    "fetch.max.wait.ms": ("fetch_max_wait_ms", int),
    "fetch.wait.max.ms": ("fetch_max_wait_ms", int),
}

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
        "--kafka-jars", metavar="FOLDER", help="Apache Kafka's jars (default: where scripts/install-kafka.sh puts them).",
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
        "--members", type=POSITIVE, default=2, show_default=True, metavar="N", help="Members of each group (librdkafka)."
    ),
    "starts": click.option("--starts", type=POSITIVE, metavar="N", help="Number of starts (default: 10; recovery: 3)."),
    "log_bytes": click.option(
        "--log-bytes", type=POSITIVE, default=1_000_000_000, show_default=True, metavar="BYTES",
        help="Bytes written before each crash.",
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


def commands() -> list[click.Command]:
    """A command for each workload."""
    return [_command(workload) for workload in WORKLOADS]


def _command(workload: str) -> click.Command:
    text, names, _ = WORKLOADS[workload]

    def callback(openmetrics_path: Path | None, push_url: str | None, **given: Any) -> None:
        run_workload(workload, given, openmetrics_path, push_url)

    function: Callable[..., None] = export_options(callback)
    for name in reversed((*names, *OUTPUT)):
        function = OPTIONS[name](function)
    return click.command(workload, help=text)(function)


def run_workload(workload: str, given: dict[str, Any], openmetrics_path: Path | None, push_url: str | None) -> None:
    """Run, show, write. The exit code is 1 for a failed run and 130 for an interrupted one."""
    from kafka_cy.bench import workloads
    from kafka_cy.bench.progress import progress_for_terminal

    client_properties = properties_of(given)
    options = load_options(workload, given, client_properties)
    progress = progress_for_terminal()
    results = new_results("run")
    with errors_as_sentences():
        start = broker_starter(given, results)
        if workload in workloads.LIVES:
            results.runs.append(run_life(workload, start, options, progress))
        else:
            target = open_target(given["bootstrap_servers"], start, given["broker"], client_properties, options)
            try:
                results.runs.append(workloads.run(workload, target, options, progress, label=given["label"]))
            finally:
                target.stop()
    if given["label"]:
        results.runs[0].label = given["label"]
    finish(results, given["json_path"], openmetrics_path, push_url)


def run_life(workload: str, start_broker: Callable[[], Restartable], options: LoadOptions, progress: Any) -> Run:
    """Run a workload that starts brokers."""
    from kafka_cy.bench.workloads import recovery, start

    runner = start.run if workload == "start" else recovery.run
    return runner(start_broker, options, progress)


def broker_starter(given: dict[str, Any], results: Results) -> Callable[[], Restartable]:
    """A function that starts the broker that the options describe in a temporary folder.

    Raises click.UsageError, BrokerError.
    """
    from kafka_cy.bench.brokers import KAFKA_VERSION, ApacheKafka, OwnBroker, kafka_jars

    config = key_values(given["broker_config"], "--broker-config")
    of_kafka = given["broker"] == "apache-kafka"
    if given.get("bootstrap_servers"):
        for option, value in (("--broker-config", config), ("--broker apache-kafka", of_kafka)):
            if value:
                raise click.UsageError(
                    f"{option} requires a broker that the command starts, without --bootstrap-server"
                )
    elif given.get("command_properties") or given.get("command_config"):
        raise click.UsageError("--command-property and --command-config require --bootstrap-server")
    if not of_kafka:
        return lambda: OwnBroker(config)
    jars = kafka_jars(given["kafka_jars"])
    results.versions["apache-kafka"] = KAFKA_VERSION
    return lambda: ApacheKafka(jars, config)


def open_target(
    bootstrap_servers: str | None,
    start: Callable[[], Target],
    broker_name: str,
    properties: dict[str, str],
    options: LoadOptions,
) -> Target:
    """The broker at an address, or a newly started one, whose name is noted. Raises BrokerError, PayloadError."""
    from kafka_cy.bench.brokers import Attached
    from kafka_cy.bench.native_runner import raise_descriptor_limit

    if bootstrap_servers:
        return Attached(bootstrap_servers, properties)
    if options.payloads.payload_file is not None:
        options.payloads.lines()  # its errors come before a broker is started
    note(f"Starting {broker_name} for this run; --bootstrap-server HOST:PORT measures a running broker.")
    raise_descriptor_limit(2 * (options.producers + options.consumers + options.idle_connections))
    return start()


def properties_of(given: dict[str, Any]) -> dict[str, str]:
    """The merged `--command-config` and `--command-property` settings. Raises ToolError."""
    path = given.get("command_config")
    read = read_properties(path) if path else {}
    return librdkafka_settings({**read, **key_values(given.get("command_properties", ()), "--command-property")})


def load_options(workload: str, given: dict[str, Any], client_properties: dict[str, str]) -> LoadOptions:
    """The command line's options as LoadOptions. Raises click.UsageError."""
    from kafka_cy.bench.load_options import LoadOptions
    from kafka_cy.bench.payloads import Payloads

    values: dict[str, Any] = {**WORKLOADS[workload][2]}
    renamed = {
        "duration": "duration_s",
        "warm_up": "warm_up_s",
        "compression_type": "compression",
        "max_in_flight": "in_flight",
        "fetch_size": "fetch_bytes",
    }
    context = click.get_current_context()
    for name in (
        *TOPIC,
        *HOW_LONG,
        *PRODUCING,
        *FETCHING,
        "generator",
        "idle_connections",
        "groups",
        "members",
        "starts",
    ):
        source = context.get_parameter_source(name)
        chosen = source is not None and source is not click.core.ParameterSource.DEFAULT
        if name in given and given[name] is not None and (chosen or renamed.get(name, name) not in values):
            values[renamed.get(name, name)] = given[name]
    if "batch_size" in given and context.get_parameter_source("batch_size") is click.core.ParameterSource.COMMANDLINE:
        values["batch_records"] = given["batch_records"]
    payloads = Payloads(
        **{
            name: values.pop(name)
            for name in (
                "record_size",
                "random_bytes_ratio",
                "key_distribution",
                "keys",
                "payload_file",
                "payload_delimiter",
            )
            if name in values
        }
    )
    if "log_bytes" in given:
        values["log_bytes"] = given["log_bytes"]
    if "acks" in values:
        values["acks"] = ACKS[values["acks"]]
    if values.get("throughput", 1) == NO_LIMIT:
        values["throughput"] = None
    elif values.get("throughput", 1) <= 0:
        raise click.UsageError("--throughput must be records per second, or -1 for as fast as possible")
    if values.get("num_records") and given.get("duration") is None:
        values["duration_s"] = FOREVER_S
    values["topic_config"] = key_values(values.get("topic_config", ()), "--topic-config")
    native = values.get("generator", "native") == "native" and workload not in ("start", "recovery")
    values["producer_properties"] = client_settings(
        values, values.pop("producer_props", ()), "--producer-props", native
    )
    values["consumer_properties"] = client_settings(
        values, values.pop("consumer_props", ()), "--consumer-props", native
    )
    security = client_properties.get("security.protocol", "PLAINTEXT")
    if native and security.upper() != "PLAINTEXT":
        raise click.UsageError(
            f"the native generator supports only PLAINTEXT, not {security}: use --generator librdkafka"
        )
    if native and values.get("acks") == 0:
        raise click.UsageError(
            "the native generator measures responses, and acks=0 has none: use --generator librdkafka"
        )
    return LoadOptions(**values, payloads=payloads)


def client_settings(values: dict[str, Any], words: Any, option: str, native: bool) -> dict[str, str]:
    """Client settings: those that are also our options change `values`, the others go to librdkafka."""
    settings = key_values(words, option)
    rest = {}
    for key, text in settings.items():
        if key not in KNOWN_PROPERTIES:
            rest[key] = text
            continue
        name, convert = KNOWN_PROPERTIES[key]
        try:
            values[name] = convert(text)
        except (KeyError, ValueError):
            raise click.UsageError(f"{option}: {key} cannot be {text!r}") from None
        if name == "batch_size":
            values["batch_records"] = None
    if native and rest:
        raise click.UsageError(f"the native generator has no setting {min(rest)}: use --generator librdkafka")
    return rest


# -- results --


def new_results(kind: Kind) -> Results:
    """Empty results for this command line."""
    from kafka_cy.bench import machine
    from kafka_cy.bench.results import Results

    started = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Results(kind, started, command_line(), machine.describe(), machine.versions())


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn errors of the broker or the options into ToolError or a usage error."""
    from kafka_cy.bench.brokers import BrokerError
    from kafka_cy.bench.load_options import OptionError
    from kafka_cy.bench.payloads import PayloadError

    try:
        yield
    except (OptionError, PayloadError) as error:
        raise click.UsageError(str(error)) from error
    except BrokerError as error:
        raise ToolError(str(error)) from error


def write_json(results: Results, path: Path | None) -> None:
    """Write the file if a path is given. Raises ToolError."""
    from kafka_cy.bench import machine
    from kafka_cy.bench.results import save

    results.machine.load_average_end = machine.load_average()
    if path is None:
        return
    try:
        save(results, path)
    except OSError as error:
        raise ToolError(f"{path} cannot be written: {error.strerror}.") from None


def finish(
    results: Results,
    json_path: Path | None,
    openmetrics_path: Path | None,
    push_url: str | None,
    *,
    show: Callable[[], None] | None = None,
    interrupted: bool = False,
) -> None:
    """Write, show (as a report by default), and exit with the code that the runs require.

    `interrupted`: Ctrl-C came between two runs, so that no run records it.
    """
    from kafka_cy.tools.bench_report_text import print_report

    write_json(results, json_path)
    if show is not None:
        show()
    else:
        print_report(results)
    if json_path is not None:
        note(f"Results written to {json_path}.")
    export_results(results, openmetrics_path, push_url)
    outcomes = {run.outcome for run in results.runs}
    if interrupted or "interrupted" in outcomes:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    if outcomes - {"completed"}:
        raise click.exceptions.Exit(1)

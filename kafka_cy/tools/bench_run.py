"""`kafka-cy bench produce|consume|...`: one workload against one broker."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kafka_cy.tools.bench_export import command_line, export_options, export_results
from kafka_cy.tools.bench_options import OPTIONS, OUTPUT, WORKLOADS
from kafka_cy.tools.bench_settings import load_options, properties_of
from kafka_cy.tools.client import ToolError, key_values
from kafka_cy.tools.output import note

if TYPE_CHECKING:
    from kafka_cy.bench.brokers import Restartable, Target
    from kafka_cy.bench.load_options import LoadOptions
    from kafka_cy.bench.results import Kind, Results, Run

EXIT_INTERRUPTED = 130


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

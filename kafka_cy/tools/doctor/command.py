"""`kafka-cy doctor`: looks for what keeps clients or a broker from working, and says what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, bootstrap_option, key_values, sentence_of
from kafka_cy.tools.doctor import clock, cluster, connection, groups, machine
from kafka_cy.tools.doctor.check import FAIL, OK, WARN, Check
from kafka_cy.tools.exposition import Samples, scrape
from kafka_cy.tools.output import json_wanted, output_option, print_table

DEFAULT_METRICS = "http://127.0.0.1:9404/metrics"
COLORS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command("doctor")
@click.argument("config_path", metavar="[CONFIG]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="As for kafka-cy server; may be repeated."
)
@click.option(
    "--metrics",
    "metrics_urls",
    multiple=True,
    envvar="KAFKA_CY_METRICS",
    metavar="URL",
    help=f"Metrics of a broker; local: {DEFAULT_METRICS}.",
)
@click.option(
    "--watch",
    "watch_s",
    type=click.FloatRange(min=0),
    default=6.0,
    show_default=True,
    metavar="SECONDS",
    help="How long groups with lag are watched for progress.",
)
@output_option
@bootstrap_option
@click.pass_context
def command(
    context: click.Context,
    config_path: Path | None,
    overrides: tuple[str, ...],
    metrics_urls: tuple[str, ...],
    watch_s: float,
    bootstrap_servers: str,
) -> None:
    """Look for problems of a broker, its clients' connections and this machine, and print a remedy for each.

    With CONFIG (a server.properties) or --override, and if no broker runs on this machine, it also checks what a broker
    needs to start here. It changes nothing. The exit code is 1 if a check failed.
    """
    checks, admin = connection.check_bootstrap(bootstrap_servers)
    metrics = Samples()
    if admin is not None:
        default_urls = (DEFAULT_METRICS,) if connection.has_default_address(bootstrap_servers) else ()
        metrics = _metrics(metrics_urls or default_urls, checks, asked=bool(metrics_urls))
        checks += _cluster_checks(admin, bootstrap_servers, metrics, watch_s)
        for url in metrics_urls or default_urls:
            checks += clock.check_clock(url)
    starts_here = config_path is not None or bool(overrides)
    starts_here = starts_here or (admin is None and connection.nothing_listens(bootstrap_servers))
    if starts_here:
        checks += _machine_checks(config_path, key_values(overrides, "--override"))
    if starts_here or metrics:
        checks += machine.check_descriptors(metrics)
    _print(checks)
    if machine.worst(checks) == FAIL:
        context.exit(1)


def _metrics(urls: tuple[str, ...], checks: list[Check], *, asked: bool) -> Samples:
    """The brokers' metrics; those that the user did not name may be missing."""
    try:
        return scrape(urls)
    except ToolError as error:
        if asked:
            checks.append(
                Check(WARN, "metrics", str(error).rstrip("."), "correct --metrics, or kafkacy.metrics.listen")
            )
        return Samples()


def _cluster_checks(admin: Any, bootstrap_servers: str, metrics: Samples, watch_s: float) -> list[Check]:
    metadata = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    checks: list[Check] = []
    brokers = {int(each.id): f"{each.host}:{each.port}" for each in metadata.brokers.values()}
    first = brokers[min(brokers)]
    checks += _tried("versions", partial(cluster.check_versions, first, metrics))
    for number, address in sorted(brokers.items()):
        checks += _tried("log directory", partial(cluster.check_log_dirs, number, address))
    checks += _tried("topics", partial(cluster.check_min_isr, first, metadata))
    checks += _tried("record times", partial(clock.check_record_times, admin, metadata))
    checks += _tried("groups", partial(groups.check_groups, admin, bootstrap_servers, watch_s))
    return checks + cluster.check_partitions(metadata)


def _tried(name: str, check: Callable[[], list[Check]]) -> list[Check]:
    """The findings of a check; a warning if it could not be made."""
    try:
        return check()
    except Exception as error:
        sentence = str(error) if isinstance(error, ToolError) else sentence_of(error)
        if sentence is None:
            raise
        return [Check(WARN, name, f"not checked: {sentence.rstrip('.')}", "the broker's log may say more")]


def _machine_checks(path: Path | None, overrides: dict[str, str]) -> list[Check]:
    checks, config = machine.check_config(str(path) if path is not None else None, overrides)
    if config is None:
        return checks
    folders, running = machine.check_folders(config)
    return checks + machine.check_ports(config, running) + folders


def _print(checks: list[Check]) -> None:
    rows = [(check.status, check.name, check.finding, check.remedy or None) for check in checks]
    if json_wanted() or not sys.stdout.isatty():
        print_table(("STATUS", "CHECK", "FINDING", "REMEDY"), rows)
        return
    for check in checks:
        click.echo(f"{click.style(f'{check.status:4}', fg=COLORS[check.status])}  {check.name}: {check.finding}")
        if check.remedy:
            click.echo(f"      -> {check.remedy}")
    failed, warned = (sum(check.status == status for check in checks) for status in (FAIL, WARN))
    click.echo(f"\n{len(checks)} checks, {failed} failed, {warned} warnings")

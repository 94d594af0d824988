"""Metrics of replication: ReplicaManager, ReplicaFetcherManager, ReplicaAlterLogDirsManager."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import Metric

from kafka_cy.telemetry.families import counter, family, gauge, two_cases
from kafka_cy.telemetry.replication_numbers import ReplicationNumbers
from kafka_cy.telemetry.windows import Rates

PREFIX = "kafka_server_replicamanager_"


def replication_metrics(
    totals: Mapping[str, int], numbers: ReplicationNumbers, rates: Rates, now: float
) -> Iterable[Metric]:
    """`totals`: of the partitions that this broker hosts (partition_metrics)."""
    for name, text, value in (
        ("leadercount", "Partitions led here", totals["leaders"]),
        ("partitioncount", "Partitions hosted here", totals["partitions"]),
        ("offlinereplicacount", "Replicas in failed log directories", totals["offline"]),
        ("underreplicatedpartitions", "Led partitions with a replica out of sync", totals["under_replicated"]),
        ("underminisrpartitioncount", "Led partitions below min.insync.replicas", totals["under_min_isr"]),
        ("atminisrpartitioncount", "Led partitions at min.insync.replicas", totals["at_min_isr"]),
        ("reassigningpartitions", "Led partitions with replicas that come or go", numbers.reassigning),
        ("partitionswithlatetransactionscount", "Led partitions with a transaction that hangs", totals["late_transactions"]),
        ("produceridcount", "Producer ids that partitions remember", totals["producer_ids"]),
    ):
        yield gauge(PREFIX + name, text, value)
    text = "Replicas without logs that wait until the settings of their topics can be read"
    yield gauge("kafkacy_replicas_waiting_for_settings", text, numbers.waiting_roles)
    text = "Topics whose settings could never be read, or are not allowed"
    yield gauge("kafkacy_topics_without_settings", text, numbers.unknown_settings)
    for name, text, count in (
        ("isrexpands", "Replicas that joined an ISR of a partition led here", numbers.isr_expands),
        ("isrshrinks", "Changes that removed replicas from an ISR of a partition led here", numbers.isr_shrinks),
        ("failedisrupdates", "Changes of an ISR that the controller refused", numbers.failed_isr_updates),
    ):
        yield counter(PREFIX + name, text, count)  # also while it is 0: alerts need the series to exist
        if not count:
            # Alerts of Confluent's and Grafana's dialect compare these counts with 0: they may be shown only while they are 0.
            yield family("unknown", f"{PREFIX}{name}persec", text, [({}, 0)])
    yield counter("kafkacy_broker_logins_failed", "Connections to other brokers whose SASL login failed", numbers.logins_failed)
    text = "Attempts to get a token or ticket for logins to other brokers that failed"
    yield counter("kafkacy_broker_credentials_failed", text, numbers.credentials_failed)
    yield from _fetchers(numbers, rates, now)


def _fetchers(numbers: ReplicationNumbers, rates: Rates, now: float) -> Iterable[Metric]:
    each = [rates.rate(("fetcher", number), count, now) for number, count in numbers.fetches.items()]
    for manager, client, values in (
        ("replicafetchermanager", "Replica", (numbers.max_lag, min(each, default=0), numbers.failed_partitions)),
        ("replicaalterlogdirsmanager", "ReplicaAlterLogDirs", (0, 0, 0)),
    ):
        for name, text, value in (
            ("maxlag", "Messages by which the last of the fetched partitions is behind its leader", values[0]),
            ("minfetchrate", "Requests a second of the slowest fetcher", values[1]),
            ("failedpartitionscount", "Partitions that are not fetched after an error", values[2]),
            ("deadthreadcount", "0: a fetcher ends only when it is told to", 0),
        ):
            yield family("gauge", f"kafka_server_{manager}_{name}", text, [(two_cases("clientId", client), value)])

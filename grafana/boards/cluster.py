"""Cluster overview: is everything all right, and how much is going on."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BAD_ABOVE_ZERO, CLUSTER, GOOD_ABOVE_ZERO, RATE, bars, board, lines, number

TOPICS = "kafka_server_brokertopicmetrics"
CONTROLLER = "kafka_controller_kafkacontroller"
REPLICAS = "kafka_server_replicamanager"


def build() -> Dashboard:
    """The board."""
    one = ((None, "red"), (1, "green"), (2, "red"))
    return (
        board("cluster", "Kafka cluster", "Health and load of a whole cluster.")
        .with_panel(
            number("Brokers", f"count(kafka_server_kafkaserver_brokerstate{{{CLUSTER}}} == 3)", colours=GOOD_ABOVE_ZERO)
        )
        .with_panel(number("Active controllers", f"sum({CONTROLLER}_activecontrollercount{{{CLUSTER}}})", colours=one))
        .with_panel(
            number(
                "Without leader",
                f"sum({CONTROLLER}_offlinepartitionscount{{{CLUSTER}}})",
                colours=BAD_ABOVE_ZERO,
                text="Partitions that can be neither read nor written.",
            )
        )
        .with_panel(
            number(
                "Under-replicated",
                f"sum({REPLICAS}_underreplicatedpartitions{{{CLUSTER}}})",
                colours=BAD_ABOVE_ZERO,
                text="Partitions with a replica that is not in sync.",
            )
        )
        .with_panel(
            number(
                "Under min ISR",
                f"sum({REPLICAS}_underminisrpartitioncount{{{CLUSTER}}})",
                colours=BAD_ABOVE_ZERO,
                text="Partitions that refuse acks=all.",
            )
        )
        .with_panel(
            number(
                "Alerts firing",
                'count(ALERTS{alertname=~"Kafka.*",alertstate="firing"}) or vector(0)',
                colours=BAD_ABOVE_ZERO,
                text="Of monitoring/prometheus/rules/alerts.yml.",
            )
        )
        .with_panel(number("Topics", f"max({CONTROLLER}_globaltopiccount{{{CLUSTER}}})"))
        .with_panel(number("Partitions", f"max({CONTROLLER}_globalpartitioncount{{{CLUSTER}}})"))
        .with_panel(
            number("Consumer groups", f"sum(kafka_coordinator_group_groupmetadatamanager_numgroups{{{CLUSTER}}})")
        )
        .with_panel(number("Connections", f"sum(kafka_server_socketservermetrics_connection_count{{{CLUSTER}}})"))
        .with_panel(number("Stored", f"sum(kafka_log_log_size{{{CLUSTER}}})", unit="bytes", text="All replicas."))
        .with_panel(
            number("Consumer lag", f"sum(kafka_consumergroup_lag{{{CLUSTER}}})", text="Records, all groups together.")
        )
        .with_panel(
            lines(
                "Messages in",
                (f'sum by (instance) (rate({TOPICS}_messagesin_total{{{CLUSTER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="mps",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Bytes in and out",
                (f'sum(rate({TOPICS}_bytesin_total{{{CLUSTER},topic=""}}[{RATE}]))', "in"),
                (f'sum(rate({TOPICS}_bytesout_total{{{CLUSTER},topic=""}}[{RATE}]))', "out"),
                unit="Bps",
            )
        )
        .with_panel(
            lines(
                "Requests",
                (
                    f"""topk(8, sum by (request) (
                        rate(kafka_network_requestmetrics_requests_total{{{CLUSTER}}}[{RATE}])))""",
                    "{{request}}",
                ),
                unit="reqps",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Produce and Fetch, slowest hundredth",
                (
                    f"""max by (request) (kafka_network_requestmetrics_totaltimems{{
                        {CLUSTER},request=~"Produce|FetchConsumer",quantile="0.99"}})""",
                    "{{request}}",
                ),
                unit="ms",
                text="A Fetch waits up to fetch.max.wait.ms when there is nothing to read.",
            )
        )
        .with_panel(
            bars(
                "Topics by messages a second",
                f'topk(10, sum by (topic) (rate({TOPICS}_messagesin_total{{{CLUSTER},topic!=""}}[{RATE}])) > 0)',
                "{{topic}}",
                unit="mps",
            )
        )
        .with_panel(
            bars(
                "Groups by time behind",
                f"topk(10, max by (consumergroup) (kafka_consumergroup_lag_seconds{{{CLUSTER}}}))",
                "{{consumergroup}}",
                unit="s",
                text="Age of the oldest record that the group has not committed.",
            )
        )
    )

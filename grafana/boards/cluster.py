"""Cluster overview: is everything all right, and how much is going on."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BAD_ABOVE_ZERO, CLUSTER, GOOD_ABOVE_ZERO, ONCE, RATE, bars, board, lines, number, rows

TOPICS = "kafka_server_brokertopicmetrics"
CONTROLLER = "kafka_controller_kafkacontroller"
QUANTILES = (("0.99", "p99"), ("0.95", "p95"), ("0.50", "p50"))
REPLICAS = "kafka_server_replicamanager"


def build() -> Dashboard:
    """The board."""
    one = ((None, "red"), (1, "green"), (2, "red"))
    return (
        board("cluster", "Kafka cluster", "Health and load of a whole cluster.")
        .with_panel(
            number(
                "Brokers",
                f"count(kafka_server_kafkaserver_brokerstate{{{CLUSTER}}} == 3)",
                colours=GOOD_ABOVE_ZERO,
                text="Brokers that run (state 3).",
                to="broker",
            )
        )
        .with_panel(
            number(
                "Active controllers",
                f"sum({CONTROLLER}_activecontrollercount{{{CLUSTER}}})",
                colours=one,
                text="Exactly one is right.",
            )
        )
        .with_panel(
            number(
                "Offline partitions",
                f"sum({CONTROLLER}_offlinepartitionscount{{{CLUSTER}}})",
                colours=BAD_ABOVE_ZERO,
                text="Partitions without a leader: they can be neither read nor written.",
            )
        )
        .with_panel(
            number(
                "Under-replicated partitions",
                f"sum({REPLICAS}_underreplicatedpartitions{{{CLUSTER}}})",
                colours=BAD_ABOVE_ZERO,
                text="Partitions with a replica that is not in sync.",
            )
        )
        .with_panel(
            number(
                "Under min ISR partitions",
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
        .with_panel(
            number(
                "Unclean leader elections",
                f"sum(increase(kafka_controller_controllerstats_uncleanleaderelections_total{{{CLUSTER}}}[1h])) or vector(0)",
                colours=BAD_ABOVE_ZERO,
                text="In the last hour. A replica that was not in sync became leader: acknowledged records may be lost.",
            )
        )
        .with_panel(
            number(
                "Preferred replica imbalance",
                f"sum({CONTROLLER}_preferredreplicaimbalancecount{{{CLUSTER}}})",
                colours=((None, "green"), (1, "orange")),
                text="Partitions that are not led by their first replica.",
            )
        )
        .with_panel(
            number(
                "Failed authentications",
                f"sum(kafka_server_socketservermetrics_failed_authentication_rate{{{CLUSTER}}})",
                unit="ops",
                colours=((None, "green"), (0.1, "orange"), (10, "red")),
                text="A second, over the last minute: failed TLS handshakes and logins.",
                to="clients",
            )
        )
        .with_panel(
            number(
                "Offline log directories",
                f"sum(kafka_log_logmanager_offlinelogdirectorycount{{{CLUSTER}}})",
                colours=BAD_ABOVE_ZERO,
                text="Log directories that failed.",
                to="storage",
            )
        )
        .with_panel(
            number(
                "Fullest disk",
                f"max(1 - kafkacy_log_dir_usable_bytes{{{CLUSTER}}} / kafkacy_log_dir_total_bytes)",
                unit="percentunit",
                colours=((None, "green"), (0.7, "red")),
                text="Of the file systems with log directories. 70 % counts as full.",
                to="storage",
            )
        )
        .with_panel(
            number(
                "Consumer lag in seconds",
                f"max(kafka_consumergroup_lag_seconds{{{CLUSTER}}})",
                unit="s",
                colours=((None, "green"), (300, "red")),
                text="Of the group that is furthest behind.",
                to="consumers",
            )
        )
        .with_panel(
            number("Topics", f"max({CONTROLLER}_globaltopiccount{{{CLUSTER}}})", text="Of the cluster.", to="topics")
        )
        .with_panel(
            number(
                "Partitions", f"max({CONTROLLER}_globalpartitioncount{{{CLUSTER}}})", text="Of all topics.", to="topics"
            )
        )
        .with_panel(
            number(
                "Consumer groups",
                f"sum(kafka_coordinator_group_groupmetadatamanager_numgroups{{{CLUSTER}}})",
                text="With members or with committed offsets.",
                to="consumers",
            )
        )
        .with_panel(
            number(
                "Connections",
                f"sum(kafka_server_socketservermetrics_connection_count{{{CLUSTER}}})",
                text="Open client connections.",
                to="clients",
            )
        )
        .with_panel(
            number("Stored", f"sum(kafka_log_log_size{{{CLUSTER}}})", unit="bytes", text="All replicas.", to="storage")
        )
        .with_panel(
            number(
                "Consumer lag",
                f"sum(kafka_consumergroup_lag{{{CLUSTER}}})",
                text="Records, all groups together.",
                to="consumers",
            )
        )
        .with_panel(
            lines(
                "Messages in",
                (f'sum by (instance) (rate({TOPICS}_messagesin_total{{{CLUSTER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="mps",
                stacked=True,
                text="Records produced, by broker.",
            )
        )
        .with_panel(
            lines(
                "Bytes in and out",
                (f'sum(rate({TOPICS}_bytesin_total{{{CLUSTER},topic=""}}[{RATE}]))', "in"),
                (f'sum(rate({TOPICS}_bytesout_total{{{CLUSTER},topic=""}}[{RATE}]))', "out"),
                unit="Bps",
                text="Record batches from producers and to consumers, as they are stored (compressed).",
            )
        )
        .with_panel(
            lines(
                "Requests",
                (
                    f"""topk(8, sum by (request) (
                        rate(kafka_network_requestmetrics_requests_total{{{CLUSTER},{ONCE}}}[{RATE}])))""",
                    "{{request}}",
                ),
                unit="reqps",
                stacked=True,
                text="The eight most frequent kinds. Fetches are split into those of consumers and of followers.",
            )
        )
        .with_panel(
            lines(
                "Produce p99",
                *(
                    (
                        f"""max(kafka_network_requestmetrics_totaltimems{{
                            {CLUSTER},request="Produce",quantile="{quantile}"}})""",
                        label,
                    )
                    for quantile, label in QUANTILES
                ),
                unit="ms",
                text="Total time in the broker, of the slowest broker; p95 and p50 for comparison.",
                span=6,
            )
        )
        .with_panel(
            lines(
                "Fetch p99",
                *(
                    (
                        f"""max(kafka_network_requestmetrics_totaltimems{{
                            {CLUSTER},request="FetchConsumer",quantile="{quantile}"}})""",
                        label,
                    )
                    for quantile, label in QUANTILES
                ),
                unit="ms",
                text="Of consumers. A Fetch waits up to fetch.max.wait.ms when there is nothing to read, so this is not slowness.",
                span=6,
            )
        )
        .with_panel(
            bars(
                "Topics by messages a second",
                f'topk(10, sum by (topic) (rate({TOPICS}_messagesin_total{{{CLUSTER},topic!=""}}[{RATE}])) > 0)',
                "{{topic}}",
                unit="mps",
                text="The ten busiest topics.",
            )
        )
        .with_panel(
            bars(
                "Groups by consumer lag in seconds",
                f"topk(10, max by (consumergroup) (kafka_consumergroup_lag_seconds{{{CLUSTER}}}))",
                "{{consumergroup}}",
                unit="s",
                text="Age of the oldest record that the group has not committed.",
            )
        )
        .with_panel(
            rows(
                "Firing alerts",
                (
                    (
                        "since",
                        """max by (alertname, severity, instance) (time() - ALERTS_FOR_STATE{alertname=~"Kafka.*"}
                            and ignoring (alertstate) ALERTS{alertstate="firing"})""",
                        "s",
                    ),
                ),
                ("alertname", "severity", "instance"),
                text="Of monitoring/prometheus/rules/alerts.yml, with the time since their condition became true.",
                empty_when="while no alert fires",
                empty_text="No alert is firing.",
                height=6,
            )
        )
    )

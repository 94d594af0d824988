"""One broker, or several side by side: its work, its threads, its limits."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BROKER, RATE, board, instance_variable, lines, number

TOPICS = "kafka_server_brokertopicmetrics"
REPLICAS = "kafka_server_replicamanager"
PROCESS = 'and on (instance) kafka_server_kafkaserver_brokerstate{kafka_cluster=~"$kafka_cluster"}'


def build() -> Dashboard:
    """The board."""
    return (
        board("broker", "Kafka broker", "What each broker does and what it runs out of.", instance_variable())
        .with_panel(
            number(
                "State",
                f"min(kafka_server_kafkaserver_brokerstate{{{BROKER}}})",
                text="3: running.",
                colours=((None, "red"), (3, "green"), (4, "orange")),
            )
        )
        .with_panel(
            number(
                "Up for",
                f"time() - max(process_start_time_seconds{{{BROKER}}} {PROCESS})",
                unit="s",
            )
        )
        .with_panel(number("Leaders", f"sum({REPLICAS}_leadercount{{{BROKER}}})"))
        .with_panel(number("Replicas", f"sum({REPLICAS}_partitioncount{{{BROKER}}})"))
        .with_panel(
            number(
                "File descriptors",
                f"max(process_open_fds{{{BROKER}}} / process_max_fds {PROCESS})",
                unit="percentunit",
                colours=((None, "green"), (0.8, "red")),
            )
        )
        .with_panel(number("Memory", f"sum(process_resident_memory_bytes{{{BROKER}}} {PROCESS})", unit="bytes"))
        .with_panel(
            lines(
                "Messages in",
                (f'sum by (instance) (rate({TOPICS}_messagesin_total{{{BROKER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="mps",
                span=8,
            )
        )
        .with_panel(
            lines(
                "Bytes in",
                (f'sum by (instance) (rate({TOPICS}_bytesin_total{{{BROKER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="Bps",
                span=8,
            )
        )
        .with_panel(
            lines(
                "Bytes out",
                (f'sum by (instance) (rate({TOPICS}_bytesout_total{{{BROKER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="Bps",
                span=8,
            )
        )
        .with_panel(
            lines(
                "CPU",
                (f"rate(process_cpu_seconds_total{{{BROKER}}}[{RATE}]) {PROCESS}", "{{instance}}"),
                text="Cores.",
            )
        )
        .with_panel(
            lines(
                "Threads idle",
                (f"kafka_network_socketserver_networkprocessoravgidlepercent{{{BROKER}}}", "{{instance}} network"),
                (
                    f"kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent{{{BROKER}}}",
                    "{{instance}} request handlers, since the start",
                ),
                unit="percentunit",
                most=1,
                text="In kafka-cy the reactors are both network and handler for the hot requests.",
            )
        )
        .with_panel(
            lines(
                "Requests",
                (
                    f"""topk(10, sum by (request) (
                        rate(kafka_network_requestmetrics_requests_total{{{BROKER}}}[{RATE}])))""",
                    "{{request}}",
                ),
                unit="reqps",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Errors answered",
                (
                    f"""sum by (request, error) (
                        rate(kafka_network_requestmetrics_errors_total{{{BROKER},error!="NONE"}}[{RATE}])) > 0""",
                    "{{request}} {{error}}",
                ),
                unit="reqps",
                empty_when="while no request fails",
            )
        )
        .with_panel(
            lines(
                "Connections",
                (
                    f"sum by (instance, listener) (kafka_server_socketservermetrics_connection_count{{{BROKER}}})",
                    "{{instance}} {{listener}}",
                ),
            )
        )
        .with_panel(
            lines(
                "Connections opened",
                (
                    f"""sum by (instance) (
                        kafka_server_socketservermetrics_connection_creation_rate{{{BROKER}}})""",
                    "{{instance}}",
                ),
                unit="ops",
                text="Clients that connect for every message show here.",
            )
        )
        .with_panel(
            lines(
                "Requests that wait",
                (
                    f"""sum by (delayedOperation) (kafka_server_delayedoperationpurgatory_purgatorysize{{
                        {BROKER},delayedOperation=~"Produce|Fetch|Rebalance"}})""",
                    "{{delayedOperation}}",
                ),
                text="Fetch: for data. Produce: for followers or an fsync. Rebalance: for members.",
            )
        )
        .with_panel(
            lines(
                "Queues",
                (
                    f"sum by (instance) (kafka_network_requestchannel_requestqueuesize{{{BROKER}}})",
                    "{{instance}} requests",
                ),
                (
                    f"""sum by (instance) (
                        kafka_network_requestchannel_responsequeuesize{{{BROKER},processor=""}})""",
                    "{{instance}} responses",
                ),
            )
        )
        .with_panel(
            lines(
                "In-sync replicas change",
                (f"sum by (instance) (rate({REPLICAS}_isrshrinks_total{{{BROKER}}}[{RATE}]))", "{{instance}} shrink"),
                (f"sum by (instance) (rate({REPLICAS}_isrexpands_total{{{BROKER}}}[{RATE}]))", "{{instance}} expand"),
                unit="ops",
                text="Zero unless a broker comes, goes or is slow.",
            )
        )
        .with_panel(
            lines(
                "Fetch sessions",
                (
                    f"sum by (instance) (kafka_server_fetchsessioncache_numincrementalfetchsessions{{{BROKER}}})",
                    "{{instance}}",
                ),
            )
        )
        .with_panel(
            lines(
                "ZooKeeper answers, slowest hundredth",
                (
                    f'kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms{{{BROKER},quantile="0.99"}}',
                    "{{instance}}",
                ),
                unit="ms",
                empty_when="where a broker keeps its metadata itself",
            )
        )
        .with_panel(
            lines(
                "Behind its leaders",
                (
                    f'kafka_server_replicafetchermanager_maxlag{{{BROKER},clientId="Replica"}}',
                    "{{instance}}",
                ),
                text="Records that the slowest follower on this broker has still to copy.",
            )
        )
    )

"""Clients: who is connected, and what they push about themselves (KIP-714)."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from grafana.panels import CLUSTER, Panel, board, folded, lines, number, rows, variable

CLIENT = f'{CLUSTER},client_id=~"$client_id"'
NOBODY = "until a client-metrics subscription asks clients for it (docs/client-telemetry.md)"
CONNECTIONS = "kafka_server_socketservermetrics_connections"


def pushed(title: str, metric: str, *, unit: str, text: str, only: str = "") -> Panel:
    """A metric that clients push, by client id; `only` says which clients have it."""
    return lines(
        title,
        (f"max by (client_id) (org_apache_kafka_{metric}{{{CLIENT}}})", "{{client_id}}"),
        unit=unit,
        text=" ".join(part for part in (text, only) if part),
        empty_when=NOBODY,
    )


def quota(title: str, metrics: dict[str, str], *, unit: str, text: str) -> Panel:
    """Metrics of clients to which a quota applies; `metrics` has the name after `kafka_server_`, and the words for it."""
    return lines(
        title,
        *(
            (f"max by (user, client_id) (kafka_server_{metric}{{{CLUSTER}}})", f"{{{{user}}}} {{{{client_id}}}} {words}".strip())
            for metric, words in metrics.items()
        ),
        unit=unit,
        text=text,
        empty_when="until a client has a quota",
    )


def quotas() -> Row:
    """Who is throttled, and what clients use of their quotas."""
    return folded(
        "Quotas",
        number(
            "Throttled connections",
            f"sum(kafkacy_throttled_connections{{{CLUSTER}}})",
            text="They are not read at the moment, because their client has used more than its quota.",
            span=6,
        ),
        number(
            "Entities with quotas",
            f"max(kafkacy_quota_entities{{{CLUSTER}}})",
            text="Users, client ids and addresses.",
            span=6,
        ),
        quota(
            "Throttle time",
            {
                "produce_throttle_time": "produce",
                "fetch_throttle_time": "fetch",
                "request_throttle_time": "requests",
                "controllermutation_throttle_time": "topics",
            },
            unit="ms",
            text="Average of the last minute, of the broker that throttles most.",
        ),
        quota(
            "Bytes",
            {"produce_byte_rate": "produced", "fetch_byte_rate": "fetched"},
            unit="Bps",
            text="Of clients with a quota, on the busiest broker: the quota counts for each broker.",
        ),
        quota(
            "Time of requests",
            {"request_request_time": ""},
            unit="percent",
            text="Of clients with a quota, on the busiest broker; 100 % is one thread.",
        ),
    )


def build() -> Dashboard:
    """The board."""
    ids = variable("client_id", "Client", f"label_values(kafkacy_client_info{{{CLUSTER}}}, client_id)")
    java = "Java clients only."
    return (
        board("clients", "Kafka clients", "Connected software, and metrics that clients push (KIP-714).", ids)
        .with_panel(
            number(
                "Connections",
                f"sum(kafka_server_socketservermetrics_connection_count{{{CLUSTER}}})",
                text="Open now.",
                span=6,
            )
        )
        .with_panel(
            number(
                "Kinds of clients",
                f"count(count by (client_software_name, client_software_version) ({CONNECTIONS}{{{CLUSTER}}}))",
                text="Names and versions of client software.",
                span=6,
            )
        )
        .with_panel(number("Clients that push", f"count(kafkacy_client_info{{{CLUSTER}}})", span=6, empty_when=NOBODY))
        .with_panel(
            number(
                "Connections opened a second",
                f"sum(kafka_server_socketservermetrics_connection_creation_rate{{{CLUSTER}}})",
                unit="ops",
                text="Over the last minute. Clients that connect for every message show here.",
                span=6,
            )
        )
        .with_panel(
            lines(
                "Connections by client software",
                (
                    f"sum by (client_software_name, client_software_version) ({CONNECTIONS}{{{CLUSTER}}}) > 0",
                    "{{client_software_name}} {{client_software_version}}",
                ),
                stacked=True,
                text="As clients say in ApiVersions.",
            )
        )
        .with_panel(
            rows(
                "Who pushes",
                (("pushes", f"kafkacy_client_info{{{CLIENT}}}", "short"),),
                ("client_id", "client_software_name", "client_software_version", "client_source_address"),
                span=12,
                height=8,
                empty_when=NOBODY,
            )
        )
        .with_panel(
            pushed(
                "Producers: request latency",
                "producer_node_request_latency_avg",
                unit="ms",
                text="From the producer's side, mean, of the slowest broker.",
            )
        )
        .with_panel(
            pushed(
                "Producers: time in the queue",
                "producer_record_queue_time_avg",
                unit="ms",
                text="How long records wait in the producer before they are sent (linger.ms, back-pressure).",
            )
        )
        .with_panel(
            pushed(
                "Consumers: fetch latency",
                "consumer_fetch_manager_fetch_latency_avg",
                unit="ms",
                text="Includes the wait for records.",
            )
        )
        .with_panel(
            pushed(
                "Consumers: idle in poll",
                "consumer_poll_idle_ratio_avg",
                unit="percentunit",
                text="Near 1: waiting for records. Near 0: busy with them, the group is at its limit.",
            )
        )
        .with_panel(
            pushed(
                "Consumers: commit latency",
                "consumer_coordinator_commit_latency_avg",
                unit="ms",
                text="Time of an offset commit.",
            )
        )
        .with_panel(
            pushed(
                "Consumers: rebalance time",
                "consumer_coordinator_rebalance_latency_avg",
                unit="ms",
                text="How long a rebalance takes from the member's side.",
            )
        )
        .with_panel(
            pushed(
                "Consumers: lag as they see it",
                "consumer_fetch_manager_records_lag_max",
                unit="short",
                text="Records of the partition that is furthest behind.",
                only=java,
            )
        )
        .with_panel(
            pushed(
                "Producers: compression",
                "producer_compression_rate_avg",
                unit="percentunit",
                text="Compressed to uncompressed; smaller is better.",
                only=java,
            )
        )
        .with_row(quotas())
    )

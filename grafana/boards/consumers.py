"""Consumer groups: who is behind, by how much, and since when."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from grafana.panels import BAD_ABOVE_ZERO, CLUSTER, RATE, board, folded, lines, number, rows, topic_variable, variable

GROUP = f'{CLUSTER},consumergroup=~"$consumergroup"'
LAG = f'{GROUP},topic=~"$topic"'
STATES = "kafka_coordinator_group_groupmetadatamanager_numgroups"
EVENTS = "kafka_server_group_coordinator_metrics_"
RUNTIMES = (("groups", EVENTS), ("share groups", "kafka_server_share_coordinator_metrics_"))
BY = "consumergroup, topic"


def build() -> Dashboard:
    """The board."""
    groups = variable(
        "consumergroup", "Group", f"label_values(kafka_consumergroup_members{{{CLUSTER}}}, consumergroup)"
    )
    return (
        board("consumers", "Kafka consumer groups and lag", "Lag in records and in time.", groups, topic_variable())
        .with_panel(
            number(
                "Groups",
                f"count(kafka_consumergroup_members{{{GROUP}}})",
                text="With members or with committed offsets.",
            )
        )
        .with_panel(
            number(
                "Empty groups",
                f"count(kafka_consumergroup_members{{{GROUP}}} == 0) or vector(0)",
                colours=BAD_ABOVE_ZERO,
                text="Without members: nobody reads for them.",
            )
        )
        .with_panel(number("Members", f"sum(kafka_consumergroup_members{{{GROUP}}})", text="Consumers in groups."))
        .with_panel(number("Consumer lag", f"sum(kafka_consumergroup_lag{{{LAG}}})", text="Records."))
        .with_panel(
            number(
                "Consumer lag in seconds",
                f"max(kafka_consumergroup_lag_seconds{{{LAG}}})",
                unit="s",
                text="Of the group that is furthest behind.",
                colours=((None, "green"), (300, "red")),
            )
        )
        .with_panel(
            number(
                "Rebalancing now",
                f"sum({STATES}preparingrebalance{{{CLUSTER}}}) + sum({STATES}completingrebalance{{{CLUSTER}}})",
                colours=((None, "green"), (1, "orange")),
                text="Groups that wait for members or for the assignment.",
            )
        )
        .with_panel(
            lines(
                "Consumer lag in seconds",
                (f"max by ({BY}) (kafka_consumergroup_lag_seconds{{{LAG}}})", "{{consumergroup}} {{topic}}"),
                unit="s",
                text="Now minus the time of the oldest record that is not committed, from the log itself.",
            )
        )
        .with_panel(
            lines(
                "Consumer lag",
                (f"sum by ({BY}) (kafka_consumergroup_lag{{{LAG}}})", "{{consumergroup}} {{topic}}"),
                text="Records that the group has not committed.",
            )
        )
        .with_panel(
            lines(
                "Committed",
                (
                    f"sum by ({BY}) (rate(kafka_consumergroup_current_offset{{{LAG}}}[{RATE}]))",
                    "{{consumergroup}} {{topic}}",
                ),
                unit="mps",
                text="Records a second that groups get done.",
            )
        )
        .with_panel(
            lines(
                "Produced",
                (
                    f'sum by (topic) (rate(kafka_topic_partition_current_offset{{{CLUSTER},topic=~"$topic"}}[{RATE}])) > 0',
                    "{{topic}}",
                ),
                unit="mps",
                text="To compare with: a group that commits less than this falls behind.",
            )
        )
        .with_panel(
            lines(
                "Members",
                (f"sum by (consumergroup) (kafka_consumergroup_members{{{GROUP}}})", "{{consumergroup}}"),
                text="By group.",
            )
        )
        .with_panel(
            lines(
                "Groups by state",
                *(
                    (f"sum({STATES}{state}{{{CLUSTER}}})", label)
                    for state, label in (
                        ("stable", "stable"),
                        ("empty", "empty"),
                        ("preparingrebalance", "preparing rebalance"),
                        ("completingrebalance", "completing rebalance"),
                        ("dead", "dead"),
                    )
                ),
                stacked=True,
                text="Of the coordinators of the chosen cluster.",
            )
        )
        .with_panel(
            rows(
                "Partitions that lag most",
                (
                    ("lag", f"topk(50, kafka_consumergroup_lag{{{LAG}}} > 0)", "short"),
                    ("behind", f"topk(50, kafka_consumergroup_lag_seconds{{{LAG}}} > 0)", "s"),
                ),
                ("consumergroup", "topic", "partition"),
                empty_when="when no group lags",
                empty_text="No group lags.",
            )
        )
        .with_row(
            folded(
                "Coordinators: offsets, rebalances, transactions",
                lines(
                    "Offsets",
                    *(
                        (f"sum(rate({EVENTS}{name}_count_total{{{CLUSTER}}}[{RATE}]))", label)
                        for name, label in (
                            ("offset_commit", "committed"),
                            ("offset_expiration", "expired"),
                            ("offset_deletion", "deleted"),
                        )
                    ),
                    unit="ops",
                    text="That coordinators stored or removed.",
                ),
                lines(
                    "Rebalances",
                    *(
                        (f"sum(rate({EVENTS}{name}_rebalance_count_total{{{CLUSTER}}}[{RATE}]))", label)
                        for name, label in (
                            ("group_completed", "classic"),
                            ("consumer_group", "consumer"),
                            ("share_group", "share"),
                            ("streams_group", "streams"),
                        )
                    ),
                    unit="ops",
                    text="By kind of group. Classic groups count when all members have their assignment, others when it begins.",
                ),
                lines(
                    "Transactions",
                    (f"sum by (state) (kafkacy_transactions{{{CLUSTER}}})", "{{state}}"),
                    text="Open ones, and those that are being ended.",
                ),
                lines(
                    "Oldest open transaction",
                    (f"max by (instance) (kafkacy_transaction_oldest_open_seconds{{{CLUSTER}}})", "{{instance}}"),
                    unit="s",
                    text="read_committed consumers of its partitions wait for so long.",
                ),
            )
        )
        .with_row(_coordinators())
        .with_row(
            folded(
                "Streams groups",
                lines(
                    "Streams groups by state",
                    (f"sum by (state) (kafka_server_group_coordinator_metrics_streams_group_count{{{CLUSTER}}})", "{{state}}"),
                    stacked=True,
                    text="NotReady: topics are missing or do not fit the topology, so that no member has tasks.",
                ),
                lines(
                    "Groups that reactors serve",
                    (f"sum by (instance) (kafkacy_open_groups{{{CLUSTER}}})", "{{instance}}"),
                    text="Groups of any kind whose commits or heartbeats need no decision of the coordinator.",
                ),
            )
        )
        .with_row(
            folded(
                "Share groups",
                lines(
                    "Acknowledged records",
                    (
                        f"""sum by (ackType) (rate(
                            kafka_server_sharegroupmetrics_recordacknowledgements_total{{{CLUSTER}}}[{RATE}]))""",
                        "{{ackType}}",
                    ),
                    unit="mps",
                    text="By what the members said: released records are delivered again, rejected ones are not.",
                ),
                lines(
                    "Locks that expire",
                    (
                        f"""sum(rate(
                            kafka_server_sharepartitionmetrics_acquisitionlocktimeout_total{{{CLUSTER}}}[{RATE}]))""",
                        "expired",
                    ),
                    unit="ops",
                    text="Records that nobody acknowledged in time.",
                ),
                lines(
                    "In flight",
                    (f"sum by (instance) (kafkacy_share_ranges_in_flight{{{CLUSTER}}})", "{{instance}}"),
                    text="Ranges of records that are delivered and not finished, or between such; at most a million a broker.",
                ),
                lines(
                    "Refused and not stored",
                    (f"sum(rate(kafkacy_share_fetches_refused_total{{{CLUSTER}}}[{RATE}]))", "fetches refused"),
                    (f"sum(rate(kafkacy_share_state_write_failed_count_total{{{CLUSTER}}}[{RATE}]))", "states not stored"),
                    unit="ops",
                    text="Zero on a healthy broker.",
                ),
                lines(
                    "Storing states",
                    (f"max(kafka_server_share_coordinator_metrics_write_latency_avg{{{CLUSTER}}})", "mean"),
                    (f"max(kafka_server_share_coordinator_metrics_write_latency_max{{{CLUSTER}}})", "longest"),
                    unit="ms",
                    text="Acknowledgements wait until the states of their share partitions are stored. Of the slowest broker.",
                ),
                lines(
                    "Fetches look for records",
                    (
                        f"""max by (quantile) (
                            kafka_server_sharepartitionmetrics_fetchlocktimems{{{CLUSTER},quantile=~"0.50|0.99"}})""",
                        "{{quantile}}",
                    ),
                    unit="ms",
                    text="For how long a fetch looks into one share partition; data that is not in memory is read apart from it.",
                ),
            )
        )
    )


def _coordinators() -> Row:
    """The thread that works for all coordinators, and what they hold."""
    return folded(
        "Coordinators: thread, partitions, memory",
        lines(
            "Coordinator events p99",
            (f"{EVENTS}event_queue_time_ms_p99{{{CLUSTER}}}", "{{instance}} wait"),
            (f"{EVENTS}event_processing_time_ms_p99{{{CLUSTER}}}", "{{instance}} work"),
            unit="ms",
            text="How long requests and timers wait for the coordinators' thread, and how long it works on one. Joins, and"
            " commits that reactors do not store, wait for each other here.",
        ),
        lines(
            "Coordinators' thread idle",
            (f"{EVENTS}thread_idle_ratio_avg{{{CLUSTER}}}", "{{instance}}"),
            unit="percentunit",
            most=1,
            text="One thread works for the coordinators of groups, share groups and transactions.",
        ),
        lines(
            "Coordinator events waiting",
            (f"{EVENTS}event_queue_size{{{CLUSTER}}}", "{{instance}}"),
            text="Requests and calls that wait for the coordinators' thread.",
        ),
        lines(
            "Coordinator partitions",
            *(
                (f"sum by (state) ({metrics}num_partitions{{{CLUSTER}}})", f"{name} {{{{state}}}}")
                for name, metrics in RUNTIMES
            ),
            text="Of __consumer_offsets and __share_group_state. A failed one cannot be loaded: the broker's log says why.",
        ),
        lines(
            "Loading of partitions",
            *(
                (f"max by (instance) ({metrics}partition_load_time_max{{{CLUSTER}}})", f"{{{{instance}}}} {name}")
                for name, metrics in (*RUNTIMES, ("transactions", "kafka_server_transaction_coordinator_metrics_"))
            ),
            unit="ms",
            text="The longest of the last 30 seconds, 0 if there was none. Meanwhile clients get COORDINATOR_LOAD_IN_PROGRESS.",
        ),
        lines(
            "Records of coordinators p99",
            *(
                (f"max({metrics}{metric}_ms_p99{{{CLUSTER}}})", f"{name}: {label}")
                for name, metrics in RUNTIMES
                for metric, label in (("batch_flush_time", "append"), ("event_purgatory_time", "wait for followers"))
            ),
            unit="ms",
            text="To append the records of an operation, and until they are replicated, which its response waits for.",
        ),
        lines(
            "Memory of groups",
            (f"sum by (instance) (kafkacy_group_bytes{{{CLUSTER}}})", "{{instance}} groups"),
            (f"sum by (instance) (kafkacy_committed_offset_bytes{{{CLUSTER}}})", "{{instance}} offsets"),
            unit="bytes",
            text="At most kafkacy.groups.max.bytes and kafkacy.committed.offsets.max.bytes.",
        ),
        lines(
            "Requests of groups refused",
            (
                f"sum by (instance, limit) (rate(kafkacy_group_requests_refused_total{{{CLUSTER}}}[{RATE}]))",
                "{{instance}} {{limit}}",
            ),
            unit="reqps",
            text="By the limit that refused them: too many groups, committed offsets, or offsets in open transactions.",
        ),
    )

"""Consumer groups: who is behind, by how much, and since when."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BAD_ABOVE_ZERO, CLUSTER, RATE, board, lines, number, rows, topic_variable, variable

GROUP = f'{CLUSTER},consumergroup=~"$consumergroup"'
LAG = f'{GROUP},topic=~"$topic"'
STATES = "kafka_coordinator_group_groupmetadatamanager_numgroups"
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
    )

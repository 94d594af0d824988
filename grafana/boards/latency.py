"""Where requests spend their time."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BROKER, RATE, Panel, board, instance_variable, lines, number, variable

METRICS = "kafka_network_requestmetrics"
# The parts of a request's time, in order; throttling is not one of them here.
PARTS = (
    ("requestqueuetimems", "request queue"),
    ("localtimems", "local"),
    ("remotetimems", "remote"),
    ("responsequeuetimems", "response queue"),
    ("responsesendtimems", "response send"),
)


def quantile(metric: str, request: str, quantile: str) -> str:
    """A quantile of one part, of the slowest broker."""
    return f'max by (request) ({METRICS}_{metric}{{{BROKER},request=~"{request}",quantile="{quantile}"}})'


def chosen(metric: str, level: str) -> str:
    """The same for the chosen requests, without those that do not occur now: their quantiles would stay for long."""
    now = f"sum by (request) (rate({METRICS}_requests_total{{{BROKER}}}[{RATE}])) > 0"
    return f"{quantile(metric, '$request', level)} and on (request) ({now})"


def parts(title: str, request: str, level: str, text: str) -> Panel:
    """The parts of one request's time over one another."""
    queries = [(quantile(metric, request, level), label) for metric, label in PARTS]
    return lines(title, *queries, unit="ms", stacked=True, text=text)


def build() -> Dashboard:
    """The board."""
    requests = variable("request", "Request", f"label_values({METRICS}_totaltimems{{{BROKER}}}, request)")
    return (
        board("latency", "Kafka request latency", "Time of requests and its parts.", instance_variable(), requests)
        .with_panel(number("Produce, median", quantile("totaltimems", "Produce", "0.50"), unit="ms"))
        .with_panel(number("Produce, 99 %", quantile("totaltimems", "Produce", "0.99"), unit="ms"))
        .with_panel(number("Produce, 99.9 %", quantile("totaltimems", "Produce", "0.999"), unit="ms"))
        .with_panel(number("Fetch, median", quantile("totaltimems", "FetchConsumer", "0.50"), unit="ms"))
        .with_panel(number("Fetch, 99 %", quantile("totaltimems", "FetchConsumer", "0.99"), unit="ms"))
        .with_panel(number("Fetch, 99.9 %", quantile("totaltimems", "FetchConsumer", "0.999"), unit="ms"))
        .with_panel(
            parts(
                "Produce by part, 99 %", "Produce", "0.99", "Local: the disk. Remote: followers (acks=all) or an fsync."
            )
        )
        .with_panel(
            parts(
                "Fetch by part, median",
                "FetchConsumer",
                "0.50",
                "Remote: waiting for records to come, which is not slowness.",
            )
        )
        .with_panel(lines("Total time, median", (chosen("totaltimems", "0.50"), "{{request}}"), unit="ms"))
        .with_panel(lines("Total time, 99 %", (chosen("totaltimems", "0.99"), "{{request}}"), unit="ms"))
        .with_panel(
            lines(
                "Local time, 99 %",
                (chosen("localtimems", "0.99"), "{{request}}"),
                unit="ms",
                text="In the broker's own hands: no waiting for others.",
            )
        )
        .with_panel(
            lines(
                "Requests",
                (
                    f'sum by (request) (rate({METRICS}_requests_total{{{BROKER},request=~"$request"}}[{RATE}])) > 0',
                    "{{request}}",
                ),
                unit="reqps",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Versions of Produce and Fetch",
                (
                    f"""sum by (request, version) (
                        rate({METRICS}_requests_total{{{BROKER},request=~"Produce|FetchConsumer"}}[{RATE}])) > 0""",
                    "{{request}} v{{version}}",
                ),
                unit="reqps",
                text="Old versions are old clients.",
            )
        )
        .with_panel(lines("Size of requests, 99 %", (chosen("requestbytes", "0.99"), "{{request}}"), unit="bytes"))
    )

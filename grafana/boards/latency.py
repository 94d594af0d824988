"""Where requests spend their time."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BROKER, ONCE, RATE, Panel, board, instance_variable, lines, number, variable

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
    now = f"sum by (request) (rate({METRICS}_requests_total{{{BROKER},{ONCE}}}[{RATE}])) > 0"
    return f"{quantile(metric, '$request', level)} and on (request) ({now})"


def total(title: str, request: str, level: str) -> Panel:
    """A quantile of the total time of one request as a number."""
    text = "Total time in the broker, of the slowest broker."
    if title == "Fetch":
        text += " A Fetch without data waits up to fetch.max.wait.ms."
    shown = f"p{float(level) * 100:g}"
    return number(f"{title} {shown}", quantile("totaltimems", request, level), unit="ms", text=text, span=3)


def parts(title: str, request: str, level: str, text: str) -> Panel:
    """The parts of one request's time over one another."""
    queries = [(quantile(metric, request, level), label) for metric, label in PARTS]
    return lines(title, *queries, unit="ms", stacked=True, text=text)


def build() -> Dashboard:
    """The board."""
    requests = variable("request", "Request", f"label_values({METRICS}_totaltimems{{{BROKER},{ONCE}}}, request)")
    return (
        board("latency", "Kafka request latency", "Time of requests and its parts.", instance_variable(), requests)
        .with_panel(total("Produce", "Produce", "0.50"))
        .with_panel(total("Produce", "Produce", "0.95"))
        .with_panel(total("Produce", "Produce", "0.99"))
        .with_panel(total("Produce", "Produce", "0.999"))
        .with_panel(total("Fetch", "FetchConsumer", "0.50"))
        .with_panel(total("Fetch", "FetchConsumer", "0.95"))
        .with_panel(total("Fetch", "FetchConsumer", "0.99"))
        .with_panel(total("Fetch", "FetchConsumer", "0.999"))
        .with_panel(
            parts(
                "Produce p99 by part", "Produce", "0.99", "Local: the disk. Remote: followers (acks=all) or an fsync."
            )
        )
        .with_panel(
            parts(
                "Fetch p50 by part",
                "FetchConsumer",
                "0.50",
                "Remote: waiting for records to come, which is not slowness.",
            )
        )
        .with_panel(
            lines(
                "Total time p50",
                (chosen("totaltimems", "0.50"), "{{request}}"),
                unit="ms",
                text="From the arrival of a request until its response is sent. Only requests that occur now.",
            )
        )
        .with_panel(
            lines(
                "Total time p99",
                (chosen("totaltimems", "0.99"), "{{request}}"),
                unit="ms",
                text="Fetch, JoinGroup and SyncGroup wait for data or members: their time is not slowness.",
            )
        )
        .with_panel(
            lines(
                "Local time p99",
                (chosen("localtimems", "0.99"), "{{request}}"),
                unit="ms",
                text="In the broker's own hands: no waiting for others.",
            )
        )
        .with_panel(
            lines(
                "Requests",
                (
                    f'sum by (request) (rate({METRICS}_requests_total{{{BROKER},request=~"$request",{ONCE}}}[{RATE}])) > 0',
                    "{{request}}",
                ),
                unit="reqps",
                stacked=True,
                text="Fetches are split into those of consumers and of followers.",
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
        .with_panel(
            lines(
                "Size of requests p99",
                (chosen("requestbytes", "0.99"), "{{request}}"),
                unit="bytes",
                text="Bodies, without the header.",
            )
        )
    )

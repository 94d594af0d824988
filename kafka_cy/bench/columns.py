"""The columns that a report shows for every line, in the terminal and on the HTML page."""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.bench import figures
from kafka_cy.bench.figures import Figure, Text, bytes_rate_text, bytes_text, ms_text, number_text
from kafka_cy.bench.loads import Load


class Column(NamedTuple):
    """A column: its name, how it is computed and formatted, and which direction is better."""

    name: str
    figure: Figure
    text: Text
    larger_is_better: bool


REQUESTS = Column("requests/s", figures.requests_per_s, number_text, True)
COLUMNS = (
    Column("records/s", figures.records_per_s, number_text, True),
    REQUESTS,
    Column("bytes/s", figures.bytes_per_s, bytes_rate_text, True),
    Column("CPU us/request", figures.cpu_us_per_request, number_text, False),
    Column("CPU s/GB", figures.cpu_s_per_gb, number_text, False),
    Column("p50", figures.percentile_of("p50_ms"), ms_text, False),
    Column("p99", figures.percentile_of("p99_ms"), ms_text, False),
    Column("p99.9", figures.percentile_of("p999_ms"), ms_text, False),
    Column("max", figures.percentile_of("max_ms"), ms_text, False),
    Column("memory", figures.rss_bytes, bytes_text, False),
)


def used_columns(loads: list[Load]) -> list[Column]:
    """The columns for which some line has a figure; requests only where records do not measure the work."""
    lines = [line for load in loads for line in load.lines]
    by_records = all(line.summary(figures.records_per_s) for line in lines)
    return [
        column
        for column in COLUMNS
        if any(line.summary(column.figure) for line in lines) and not (column is REQUESTS and by_records)
    ]

"""Metrics of share groups: what becomes of their records, and how long it takes (KIP-932).

Kafka: ShareGroupMetrics, SharePartitionMetrics, ShareCoordinatorMetrics. Those of share partitions are of all of them together,
or of those of one group, not of each one as in Kafka: clients choose how many there are. As many groups as GroupSeries allows have
series of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Final

from prometheus_client.core import Metric

from kafka_cy.telemetry import reactor_numbers
from kafka_cy.telemetry.families import QUANTILES, both_counts, counter, family, gauge
from kafka_cy.telemetry.group_numbers import ShareGroupNumbers, ShareNumbers
from kafka_cy.telemetry.windows import CountsWindow, Rates

MS: Final = 1e-6  # of a nanosecond
PREFIX: Final = "kafka_server_share"
Series = tuple[dict[str, str], Sequence[int]]  # labels, and counts by bucket


class ShareMetrics:
    """Owner: the thread that scrapes. `persec`: adds the names of the other dialect."""

    def __init__(self, rates: Rates, persec: bool) -> None:
        self._rates = rates
        self._persec = persec
        self._windows: dict[tuple[str, str], CountsWindow] = {}  # by name and group

    def collect(self, numbers: ShareNumbers, now: float) -> Iterable[Metric]:
        """Yield each family once; `now` is the monotonic time in seconds."""
        yield from self._records(numbers)
        yield from self._writes(numbers, now)
        for name, text, counts, unit, most in (
            ("groupmetrics_partitionloadtimems", "Milliseconds to read the state of a share partition", numbers.load_ns, MS, inf),
            ("partitionmetrics_fetchlocktimems", "Milliseconds of a fetch's look into a share partition", numbers.look_ns, MS, inf),
            ("partitionmetrics_fetchlockratio", "Percent of the time in which fetches looked", numbers.look_percent, 1.0, 100.0),
        ):
            yield from self._histogram(PREFIX + name, text, [({}, counts)], unit, most, now)
        yield from self._groups(numbers.groups, now)

    def _groups(self, groups: Mapping[str, ShareGroupNumbers], now: float) -> Iterable[Metric]:
        shown = {key: window for key, window in self._windows.items() if not key[1] or key[1] in groups}
        self._windows = shown  # a group that is gone has no window any more
        for name, text, values in (
            ("inflightmessagecount", "Records in flight", {group: each.records for group, each in groups.items()}),
            ("inflightbatchcount", "Ranges of records in flight", {group: each.ranges for group, each in groups.items()}),
        ):
            samples = [({"group": group}, float(value)) for group, value in values.items()]
            yield family("gauge", f"{PREFIX}partitionmetrics_{name}", f"{text} in the share partitions of a group", samples)
        full = [({"group": group}, float(each.full_looks)) for group, each in groups.items()]
        text = "Looks of fetches that got no records because as many are locked as share.partition.max.record.locks allows"
        yield family("counter", "kafkacy_share_looks_full", text, full)
        asked, waited = "Percent of the share partitions of a fetch of which records could be locked", "Milliseconds until a fetch"
        for name, text, counts, unit, most in (
            ("partitionmetrics_inflightbatchmessagecount", "Records in a range when it was made",
             {group: each.range_records for group, each in groups.items()}, 1.0, inf),
            ("groupmetrics_requesttopicpartitionsfetchratio", asked,
             {group: each.fetch_percent for group, each in groups.items()}, 1.0, 100.0),
            ("groupmetrics_topicpartitionsacquiretimems", f"{waited} could lock records, or ended",
             {group: each.acquire_ns for group, each in groups.items()}, MS, inf),
        ):  # fmt: skip
            series = [({"group": group}, of_group) for group, of_group in counts.items()]
            yield from self._histogram(PREFIX + name, text, series, unit, most, now)

    def _records(self, numbers: ShareNumbers) -> Iterable[Metric]:
        samples = [({"ackType": kind}, float(count)) for kind, count in numbers.acknowledged.items()]
        yield family("counter", PREFIX + "groupmetrics_recordacknowledgements", "Acknowledged records", samples)
        text = "Records whose lock expired before they were acknowledged"
        yield counter(PREFIX + "partitionmetrics_acquisitionlocktimeout", text, numbers.lock_timeouts)
        text = "Ranges of records that are in flight in share partitions"
        yield gauge("kafkacy_share_ranges_in_flight", text, numbers.ranges)
        text = "Fetches of share groups that got no records because too many ranges are in flight"
        yield counter("kafkacy_share_fetches_refused", text, numbers.refused)

    def _writes(self, numbers: ShareNumbers, now: float) -> Iterable[Metric]:
        """By the share coordinator."""
        name, text = PREFIX + "_coordinator_metrics_write", "States of share partitions that were stored"
        yield counter(name, text, numbers.writes)
        yield gauge(name + "_rate", f"{text} per second, over the last minute", self._rates.rate(name, numbers.writes, now))
        for kind, value in zip(("avg", "max"), numbers.write_ms, strict=True):
            text = f"Milliseconds until a state was stored, in the last 30 seconds ({kind})"
            yield gauge(f"{name}_latency_{kind}", text, value)

    def _histogram(
        self, name: str, text: str, series: Sequence[Series], unit: float, most: float, now: float
    ) -> Iterable[Metric]:
        """Quantiles of the last minutes, and the number since the start. `unit`: of a count's value. `most`: there is no larger
        value, but there may be one in its bucket."""
        samples: list[tuple[dict[str, str], float]] = []
        totals: list[tuple[dict[str, str], float]] = []
        for labels, counts in series:
            window = self._windows.setdefault((name, labels.get("group", "")), CountsWindow())
            recent = window.recent(counts, now) if counts else []
            samples += [
                (labels | {"quantile": label}, min(most, unit * reactor_numbers.quantile(recent, wanted)) if recent else 0.0)
                for wanted, label in QUANTILES
            ]
            totals.append((labels, float(sum(counts))))
            if self._persec:
                samples.append(totals[-1])
        yield family("gauge", name, text, samples)
        yield from both_counts(name, text, totals)

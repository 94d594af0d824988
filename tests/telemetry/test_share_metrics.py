"""Metrics of share groups: names, and values from the counts since the start."""

from __future__ import annotations

import pytest

from kafka_cy.telemetry.group_numbers import ShareGroupNumbers, ShareNumbers
from kafka_cy.telemetry.reactor_numbers import bucket
from kafka_cy.telemetry.share_metrics import ShareMetrics
from kafka_cy.telemetry.windows import CountsWindow, Rates

BUCKETS = 488
Found = dict[tuple[str, str], float]


def histogram(**counts: int) -> list[int]:
    """Counts by value: `_5=3` is three times the value 5."""
    made = [0] * BUCKETS
    for name, count in counts.items():
        made[bucket(int(name[1:]))] += count
    return made


def collected(metrics: ShareMetrics, numbers: ShareNumbers, now: float) -> Found:
    """Value by name and quantile."""
    return {
        (sample.name, sample.labels.get("quantile", "")): sample.value
        for family in metrics.collect(numbers, now)
        for sample in family.samples
    }


def test_the_names_of_kafka() -> None:
    metrics = ShareMetrics(Rates(), persec=True)
    numbers = ShareNumbers(
        writes=7, write_ms=(1.5, 9.0), load_ns=histogram(_2000000=1), look_ns=histogram(_3000000=3, _50000000=1),
        look_percent=histogram(_4=3, _100=1),
    )  # fmt: skip
    found = collected(metrics, numbers, 0.0)
    write = "kafka_server_share_coordinator_metrics_write"
    assert found[write + "_total", ""] == 7
    assert (found[write + "_latency_avg", ""], found[write + "_latency_max", ""]) == (1.5, 9.0)
    assert found["kafka_server_sharegroupmetrics_partitionloadtimems", "0.999"] == pytest.approx(2, rel=0.13)
    for name, often, once in (("fetchlocktimems", 3, 50), ("fetchlockratio", 4, 100)):
        name = f"kafka_server_sharepartitionmetrics_{name}"
        assert found[name, "0.50"] == pytest.approx(often, rel=0.2)
        assert found[name, "0.999"] == pytest.approx(once, rel=0.13) and (name.endswith("ms") or found[name, "0.999"] <= 100)
        assert found[name + "_count", ""] == found[name + "_count_total", ""] == found[name, ""] == 4


def test_groups_have_series_of_their_own() -> None:
    metrics = ShareMetrics(Rates(), persec=False)
    groups = {
        "a": ShareGroupNumbers(12, 3, 5, histogram(_4=3), histogram(_50=2), histogram(_7000000=1)),
        "b": ShareGroupNumbers(range_records=histogram(), fetch_percent=histogram(_100=1), acquire_ns=histogram()),
    }

    def samples(numbers: ShareNumbers, now: float) -> dict[tuple[str, str, str], float]:
        return {
            (sample.name, sample.labels.get("group", ""), sample.labels.get("quantile", "")): sample.value
            for family in metrics.collect(numbers, now)
            for sample in family.samples
        }

    found = samples(ShareNumbers(groups=groups), 0.0)
    partition, group = "kafka_server_sharepartitionmetrics_", "kafka_server_sharegroupmetrics_"
    assert found[partition + "inflightmessagecount", "a", ""] == 12
    assert found[partition + "inflightbatchcount", "a", ""] == 3
    assert (found["kafkacy_share_looks_full_total", "a", ""], found["kafkacy_share_looks_full_total", "b", ""]) == (5, 0)
    assert found[partition + "inflightbatchmessagecount", "a", "0.99"] == pytest.approx(4, abs=1)
    assert found[partition + "inflightbatchmessagecount_count", "a", ""] == 3
    assert found[group + "requesttopicpartitionsfetchratio", "a", "0.50"] == pytest.approx(50, rel=0.13)
    assert found[group + "requesttopicpartitionsfetchratio", "b", "0.999"] == 100
    assert found[group + "topicpartitionsacquiretimems", "a", "0.50"] == pytest.approx(7, rel=0.13)
    assert found[group + "topicpartitionsacquiretimems", "b", "0.50"] == 0
    assert not any(labels for name, labels, _ in samples(ShareNumbers(), 1.0)), "they are gone with the group"
    again = {"a": ShareGroupNumbers(fetch_percent=histogram(_10=1))}
    found = samples(ShareNumbers(groups=again), 2.0)
    assert found[group + "requesttopicpartitionsfetchratio", "a", "0.50"] == pytest.approx(10, rel=0.13), "it begins anew"


def test_a_group_that_begins_anew_between_two_scrapes_has_no_negative_counts() -> None:
    window = CountsWindow()
    window.recent(histogram(_50=9), 0.0)
    window.recent(histogram(_50=9), 200.0)
    window.recent(histogram(_50=9), 400.0)
    assert window.recent(histogram(_10=1), 410.0) == histogram(_10=1)


def test_the_writes_have_a_rate_and_an_idle_broker_has_zeros() -> None:
    metrics = ShareMetrics(Rates(), persec=False)
    rate = ("kafka_server_share_coordinator_metrics_write_rate", "")
    assert collected(metrics, ShareNumbers(writes=100), 0.0)[rate] == 0
    assert collected(metrics, ShareNumbers(writes=160), 10.0)[rate] == 6
    found = collected(metrics, ShareNumbers(), 20.0)
    name = "kafka_server_sharegroupmetrics_partitionloadtimems"
    assert (found[name, "0.99"], found[name + "_count", ""]) == (0, 0)
    assert (name, "") not in found, "a name of the other dialect"

"""The lag of each followed partition on the metrics page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from kafka_cy.replication.fetchers import Endpoint, Fetchers
from kafka_cy.replication.replica_numbers import fetched_partitions
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from kafka_cy.telemetry import follower_lag_metrics


def hosted(folder: Path, topic: str, index: int) -> HostedPartition:
    path = folder / f"{topic}-{index}"
    path.mkdir()
    return HostedPartition(PartitionLog(str(path), {}, clean=True), topic, bytes(16), index, leads=False)


def lags(fetchers: Fetchers) -> dict[tuple[str, str, str], float]:
    text = follower_lag_metrics.write(fetched_partitions(fetchers), False).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        assert (family.name, family.type) == ("kafka_server_fetcherlagmetrics_consumerlag", "gauge")
        for sample in family.samples:
            labels = sample.labels
            assert labels["clientId"] == labels["clientid"]
            found[labels["clientId"], labels["topic"], labels["partition"]] = sample.value
    return found


def test_each_followed_partition_has_a_lag(tmp_path: Path) -> None:
    keys = [("t", 0), ("t", 1), ("u", 0)]
    partitions = {key: hosted(tmp_path, *key) for key in keys}
    fetcher: Any = SimpleNamespace(
        follow=lambda *_: None, leave=lambda *_: None, stop=lambda: None, set_broker_epoch=lambda *_: None
    )
    fetchers = Fetchers(
        partitions, 1, lambda leader: Endpoint("h", leader), lambda *_: fetcher, lambda *_: None,
        stopper=SimpleNamespace(stop=lambda *_: None),
    )  # type: ignore[arg-type]
    assert follower_lag_metrics.write(fetched_partitions(fetchers), False) == b""
    for key, leader in zip(keys, (2, 2, 3), strict=True):
        partitions[key].follow(5)
        fetchers.follow(key, leader, 5)
    assert lags(fetchers) == {
        ("ReplicaFetcherThread-0-2", "t", "0"): -1,  # not fetched yet
        ("ReplicaFetcherThread-0-2", "t", "1"): -1,
        ("ReplicaFetcherThread-0-3", "u", "0"): -1,
    }
    fetchers.mark_failed(("t", 1), 5)
    fetchers.leave(("u", 0))
    fetchers.stop_idle()
    assert list(lags(fetchers)) == [("ReplicaFetcherThread-0-2", "t", "0")]

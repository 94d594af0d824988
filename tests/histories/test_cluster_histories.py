"""Seeded histories of transactions in a cluster whose parts fail: no anomaly, and equal logs (`make faults`).

FAULT_SEEDS=<seed> runs one again: with the same turns and faults, but not to the same moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .anomalies import anomalies_of
from .cluster import KAFKA, KAFKA_CY, FaultyCluster
from .workload import PARTITIONS, Workload

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "4"))
SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "").split(",") if seed] or range(ROUNDS)
MIXES = {
    "ours": (KAFKA_CY, KAFKA_CY, KAFKA_CY),
    "one-of-kafka": (KAFKA_CY, KAFKA_CY, KAFKA),
    "two-of-kafka": (KAFKA_CY, KAFKA, KAFKA),
}
FAULTS = os.environ.get("FAULTS", "")  # a regular expression of some, as in "full disk|kill"
CHOSEN = os.environ.get("FAULT_MIXES", "ours").split(",")


@pytest.fixture(scope="module", params=CHOSEN)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    with FaultyCluster(Path(tmp_path_factory.mktemp("cluster")), MIXES[request.param], FAULTS) as running:
        yield running


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_anomaly(cluster: FaultyCluster, seed: int) -> None:
    cluster.mend()  # the test before may have failed
    workload = Workload(cluster, seed, compacted=seed % 4 == 3 and KAFKA not in cluster.kinds)  # 3.9 has no internal.segment.bytes
    cluster.faults.clear()

    def look() -> None:
        if not workload.compacted:  # each replica is cleaned when its broker finds the time
            for topic in workload.topics:
                cluster.same_logs(topic, PARTITIONS)

    try:
        history = workload.run(look)
        assert anomalies_of(history) == []
        assert any(transaction.is_committed for transaction in history.transactions)
    except BaseException:
        cluster.tell()
        raise

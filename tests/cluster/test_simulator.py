"""Seeded simulations of a cluster with faults: `make simulate` runs 1,000 of them.

Registration, election, controller and replica manager are the broker's own, and so are the leader's rules, a log's epochs and the
table of logs and log directories. ZooKeeper, the network, disks, clocks and threads are models. A failure names its seed; this
replays it:

    KAFKACY_SIMULATOR_SEED=123 .venv/bin/python -m pytest -k promises tests/cluster/test_simulator.py
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from kafka_cy.cluster.isr_writer import IsrWriter
from kafka_cy.cluster.store import Check, Set
from kafka_cy.cluster.znode_formats import PartitionState
from kafka_cy.cluster.znodes import state_path
from kafka_cy.controller.alter_partition import AlterPartitions
from kafka_cy.controller.partition_machine import PartitionMachine
from kafka_cy.controller.parts import Parts
from kafka_cy.controller.term_store import TermStore
from kafka_cy.replication.replica_states import ReplicaStates
from kafka_cy.replication.role_changes import RoleChanges
from tests.cluster.simulator.cluster import Emphasis, SimulatedCluster
from tests.cluster.simulator.invariants import Invariants, Violation
from tests.cluster.simulator.logs import SimulatedLogs
from tests.cluster.simulator.rules import Rules

if "KAFKACY_SIMULATOR_SEED" in os.environ:
    SEEDS: Sequence[int] = range(int(os.environ["KAFKACY_SIMULATOR_SEED"]), int(os.environ["KAFKACY_SIMULATOR_SEED"]) + 1)
elif "KAFKACY_SIMULATOR_SEEDS" in os.environ:
    SEEDS = range(int(os.environ["KAFKACY_SIMULATOR_SEEDS"]))
else:
    SEEDS = (2, 3)  # 3: with inter.broker.protocol.version below 2.7
SIMULATED_MS = 60_000.0
MISSED_EPOCH_SEED = 20091
DIRECTORIES = Emphasis(("directories.fail",))
LEADERS = Emphasis(("kill_leader",))
SEEDS_MAX = 60  # within which a broken rule must be found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_with_faults_keeps_its_promises(seed: int) -> None:
    cluster = SimulatedCluster(seed)
    try:
        cluster.run(SIMULATED_MS)
    except AssertionError as error:
        history = "\n".join(cluster.log[-40:])
        command = f"KAFKACY_SIMULATOR_SEED={seed} .venv/bin/python -m pytest -k promises tests/cluster/test_simulator.py"
        raise AssertionError(f"{error}\nafter {cluster.simulation.now_ms:.1f} ms; {command}\n{history}") from error
    assert cluster.simulation.steps > 1000


def test_a_leader_that_has_missed_an_epoch_keeps_the_promises() -> None:
    """It counted what its replicas had fetched before another leader had them cut it."""
    SimulatedCluster(MISSED_EPOCH_SEED).run(55_000)


def test_a_seed_decides_everything() -> None:
    histories = []
    for _ in range(2):
        cluster = SimulatedCluster(3)
        cluster.run(5_000)
        histories.append((cluster.log, cluster.simulation.steps, cluster.zookeeper.zxid))
    assert histories[0] == histories[1]


def found(
    rules: Rules, emphasis: Emphasis, likely: Sequence[int] = (), time_ms: float = SIMULATED_MS, *, write_isrs: bool = False
) -> str:
    """The violation that the first of some seeds finds; `likely` ones are tried first (they change with the broker's code)."""
    for seed in [*likely, *range(SEEDS_MAX)]:
        try:
            SimulatedCluster(seed, rules=rules, emphasis=emphasis, write_isrs=write_isrs).run(time_ms)
        except Violation as violation:
            return str(violation)
    raise AssertionError("a broken rule was not found")


def test_a_high_watermark_over_the_old_isr_is_found() -> None:
    rules = Rules(high_watermark_over_maximal_isr=False)
    assert found(rules, Emphasis(("expire",), lost_answers=0.6), [3], 20_000).startswith("2:")


def test_replicas_that_do_not_truncate_by_epoch_are_found() -> None:
    assert found(Rules(truncate_by_epoch=False), Emphasis(("expire",))).startswith(("2:", "4:", "7:"))


def test_an_isr_that_expands_before_the_start_of_the_epoch_is_found() -> None:
    assert found(Rules(expansion_waits_for_epoch_start=False), Emphasis(("expire",))).startswith("2:")


def test_an_isr_with_a_dead_broker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlterPartitions, "_is_eligible", lambda self, member: True)
    assert found(Rules(), Emphasis(late_expansions=0.5), [7], 20_000).startswith("2:")


def test_a_replica_that_joins_after_it_lost_the_end_of_its_log_is_found() -> None:
    assert found(Rules(joins_with_broker_epoch=False), Emphasis(late_expansions=0.5), [11], 20_000).startswith("2:")


def test_deletions_that_leave_the_log_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoleChanges, "_delete", lambda self, key, deletion, deleted: 0)
    assert found(Rules(), Emphasis(("delete_topic",)), [1], 5_000).startswith("7:")


def test_writes_without_the_epoch_check_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = TermStore.__init__

    def unfenced(self: TermStore, *arguments: Any) -> None:
        begin(self, *arguments)
        self._fence = Check("/controller_epoch", -1)

    monkeypatch.setattr(TermStore, "__init__", unfenced)
    assert found(Rules(), Emphasis(("move_controller", "pause")), [4], 20_000).startswith("6:")


def test_leaders_that_write_isrs_over_what_a_controller_wrote_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """inter.broker.protocol.version 2.6."""
    wanted = IsrWriter._wanted

    def unchecked(self: IsrWriter, key: Any, change: Any, node: Any) -> Any:
        found = wanted(self, key, change, node)
        if found.operations or node is None:
            return found
        state = PartitionState.decode(node.data)._replace(isr=tuple(each.broker_id for each in change.new_isr))
        return found._replace(operations=(Set(state_path(*key), state.encode()),))

    monkeypatch.setattr(IsrWriter, "_wanted", unchecked)
    assert found(Rules(), Emphasis(("expire", "pause")), [15], 20_000, write_isrs=True).startswith(("2:", "3:", "6:"))


def test_a_failed_directory_that_serves_is_found() -> None:
    assert "although its log directory has failed" in found(Rules(offline_partitions_stop=False), DIRECTORIES)


def test_a_controller_that_ignores_failed_directories_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignored(self: Parts, *arguments: Any) -> None:
        """Leaders stay where they are."""

    monkeypatch.setattr(Parts, "_log_dirs_offline", ignored)
    assert found(Rules(), DIRECTORIES, [1], 6_000).startswith("7: without failed directories")


def test_a_broker_that_forgets_a_failed_directory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a new, empty log where it should say that the partition is offline."""
    monkeypatch.setattr(ReplicaStates, "is_offline", lambda self, key: False)
    monkeypatch.setattr(SimulatedLogs, "offline_dirs", set())
    assert found(Rules(), DIRECTORIES, [1], 20_000).startswith(("2:", "4:", "7:"))


def test_an_unclean_election_that_nobody_allows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionMachine, "_is_unclean", lambda self, topic, node: True)
    assert found(Rules(), LEADERS).startswith("1:")


def test_what_an_unclean_election_loses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody looks at whether it was allowed."""
    monkeypatch.setattr(PartitionMachine, "_is_unclean", lambda self, topic, node: True)
    monkeypatch.setattr(Invariants, "_elected_unclean", lambda self, partition, state: None)
    assert found(Rules(), LEADERS, [2]).startswith(("2:", "4:"))

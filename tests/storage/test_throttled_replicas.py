"""Which replicas have a quota of replication, and the quota of moves between log directories (KIP-73)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.throttled_replicas import FOLLOWER, LEADER, throttled_replicas
from tests.storage.batches import batch
from tests.storage.test_moves import CONFIG, KNOWN, TOPIC_ID, gone
from tests.waiting import wait_until

HERE = 1


@pytest.mark.parametrize(
    ("text", "throttled"),
    [([], []), ([""], []), (["*"], [0, 1, 2]), (["0:1", "2:1", "1:2"], [0, 2]), (["1:2"], []), (["1:11", "", "01:01"], [1])],
)
def test_the_settings(text: list[str], throttled: list[int]) -> None:
    found = throttled_replicas({LEADER: text}, HERE)
    assert [index for index in range(3) if found.of(index)[0]] == throttled
    assert not any(found.of(index)[1] for index in range(3))
    found = throttled_replicas({FOLLOWER: text, LEADER: ["1:1"]}, HERE)
    assert [index for index in range(3) if found.of(index)[1]] == throttled


def test_partitions_have_what_their_topic_says(tmp_path: Path) -> None:
    logs = LogManager([str(tmp_path)], HERE, "cluster", CONFIG)
    logs.start({})
    first = logs.create("t", 0, TOPIC_ID, {**CONFIG, LEADER: ["1:1"], FOLLOWER: ["*"]})
    second = logs.create("t", 1, TOPIC_ID)
    other = logs.create("u", 0, bytes(16))
    assert [each.throttled for each in (first, second, other)] == [(False, True), (True, True), (False, False)]
    logs.set_config("t", {**CONFIG, LEADER: ["0:1"]}, 2)
    assert [each.throttled for each in (first, second)] == [(True, False), (False, False)]
    logs.set_config("u", {**CONFIG, LEADER: ["*"]})
    assert logs.assign_topic_id("u", 0, bytes(range(16, 32))).throttled == (True, False)
    logs.set_config("t", CONFIG)
    assert first.throttled == (False, False)
    logs.shutdown()
    logs = LogManager([str(tmp_path)], HERE, "cluster", CONFIG)
    logs.set_config("t", {**CONFIG, LEADER: ["1:1"]})
    logs.start({"t": (TOPIC_ID, 2)})
    assert [logs.partitions["t", index].throttled for index in range(2)] == [(False, False), (True, False)]
    logs.shutdown()


class Pace:
    """The quota is used up until `enough`."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.waits = 0
        self.enough = False

    def record(self, kind: str, size: int) -> None:
        assert kind == "log dirs"
        self.sizes.append(size)

    def wait_ms(self, kind: str) -> int:
        self.waits += 1
        return 0 if self.enough else 1


def moving(tmp_path: Path, pace: Any) -> LogManager:
    for name in ("d1", "d2"):
        (tmp_path / name).mkdir()
    logs = LogManager([str(tmp_path / "d1"), str(tmp_path / "d2")], HERE, "cluster", CONFIG, copy_pace=pace)
    logs.start({})
    logs.create("t", 0, TOPIC_ID, log_dir=str(tmp_path / "d1"))
    for _ in range(10):
        logs.partitions["t", 0].append(batch())
    logs.move("t", 0, str(tmp_path / "d2"))
    return logs


def test_other_work_goes_on_while_a_move_waits(tmp_path: Path) -> None:
    pace = Pace()
    logs = moving(tmp_path, pace)
    wait_until(lambda: pace.waits > 0, "the move waits")
    logs.create("u", 0, bytes(range(16, 32)), log_dir=str(tmp_path / "d1"))
    logs.delete("u", 0)
    wait_until(lambda: not list((tmp_path / "d1").glob("u-0*")), "the removal of a deleted partition")
    logs.partitions["t", 0].append(batch())
    assert (tmp_path / "d1" / "t-0").exists()
    pace.enough = True
    gone(tmp_path / "d1" / "t-0")
    assert logs.partitions["t", 0].log_end_offset == 11
    assert sum(pace.sizes) >= 10 * len(batch())
    logs.shutdown()


def test_a_stop_does_not_wait_for_a_move(tmp_path: Path) -> None:
    pace = Pace()
    logs = moving(tmp_path, pace)
    wait_until(lambda: pace.waits > 0, "the move waits")
    logs.shutdown()
    logs = LogManager([str(tmp_path / "d1"), str(tmp_path / "d2")], HERE, "cluster", CONFIG)
    logs.start(KNOWN)
    assert logs.partitions["t", 0].log_end_offset == 10
    logs.shutdown()

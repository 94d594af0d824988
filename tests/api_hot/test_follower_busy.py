"""A follower fetches a partition to which a slow disk is appending: the reactor serves others, a job notes what it reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_slow_disk import run_hanging

CODE = """
from tests.api_hot.test_follower_fetch import asked, lead
server.create_topic("r", sole_replica=False)
lead(server, "r")
partition = server.partitions["r", 0]
assert only(other.call(0, 9, request(9, server, {("r", 0): batch()}, acks=1)))["error_code"] == 0
library.disk_hang(0, 1)
appender = threading.Thread(target=partition.append, args=(batch(),))
appender.start()
wait_until(lambda: library.disk_waiting(0) == 1, "the append hangs")
connection.send(1, 17, encode_request(1, 17, asked(server, 3, topic="r", max_wait_ms=MAX_WAIT, min_bytes=1)))
print(reactor_answers(), partition.high_watermark)
library.disk_hang(0, 0)
appender.join()
row = connection.answer(1, 17)["responses"][0]["partitions"][0]
print(row["error_code"], row["high_watermark"], len(row["records"]) > 0, partition.high_watermark)
"""


def test_a_busy_partition(tmp_path: Path) -> None:
    assert run_hanging(tmp_path, CODE.replace("MAX_WAIT", "60000")) == ["True 0", "0 3 True 3"]


@pytest.mark.parametrize(("epoch", "code"), [(5, 75), (-1, 6)])
def test_a_broker_without_a_replica_fetches_a_busy_partition(tmp_path: Path, epoch: int, code: int) -> None:
    """The job finds it out; the answer is that of a partition which is not busy."""
    fetch = f'topic="r", replica=11, current_leader_epoch={epoch}, max_wait_ms=60000'
    code_here = CODE.replace('topic="r", max_wait_ms=MAX_WAIT', fetch).replace('len(row["records"]) > 0', 'row["records"]')
    assert run_hanging(tmp_path, code_here) == ["True 0", f"{code} -1 b'' 0"]


THROTTLED = """
from kafka_cy.api import fetch_standing
from kafka_cy.quota import replication_quota
from tests.api_hot.test_fetch import request as fetch_request, rows
from tests.api_hot.test_follower_fetch import FOLLOWER, lead
from tests.api_hot.harness import BROKER_ID
fetch_standing.set_limits(partitions_min=1000)  # they have the memory of sessions
server.create_topic("r", sole_replica=False)
lead(server, "r", isr=ISR)
server.create_topic("many", 100, sole_replica=False)
for index in range(100):
    server.partitions["many", index].lead(5, [BROKER_ID, FOLLOWER], [BROKER_ID, FOLLOWER], BROKER_ID)
partition = server.partitions["r", 0]
partition.append(batch())
partition.set_throttled(True, False)
replication_quota.set_limit("leader", 1)
replication_quota.record("leader", 1 << 40)
waits = encode_request(1, 17, fetch_request(server, {("many", index): 0 for index in range(60)}, max_wait_ms=120_000))
other.send(1, 17, waits)
wait_until(lambda: server.server.counters()["parked"] == 1, "its memory is in use")
library.disk_hang(0, 1)
appender = threading.Thread(target=partition.append, args=(batch(),))
appender.start()
wait_until(lambda: library.disk_waiting(0) == 1, "the append hangs")
offsets = {("r", 0): 0} | {("many", index): 0 for index in range(99)}
asked = fetch_request(server, offsets, current_leader_epoch=5, max_wait_ms=120_000, min_bytes=1)
asked["replica_state"] = {"replica_id": FOLLOWER, "replica_epoch": 3}
found = rows(connection.call(1, 17, asked))
print([(row["error_code"], len(row["records"]) > 0) for row in found][:2], {row["error_code"] for row in found})
library.disk_hang(0, 0)
appender.join()
asked = fetch_request(server, {("r", 0): 0}, current_leader_epoch=5)
asked["replica_state"] = {"replica_id": FOLLOWER, "replica_epoch": 3}
[row] = rows(connection.call(1, 17, asked))
print(row["error_code"], len(row["records"]) > 0)
"""


@pytest.mark.parametrize("in_sync", [True, False])
def test_a_follower_is_not_throttled_while_it_is_not_known_whether_it_is_in_sync(tmp_path: Path, in_sync: bool) -> None:
    """There is no memory to wait for the job that notes its fetch. Of a member of the ISR, producers wait."""
    code = THROTTLED.replace("ISR)", "(BROKER_ID, FOLLOWER))" if in_sync else "(BROKER_ID,))", 1)
    assert run_hanging(tmp_path, code, "queued_request_bytes_max=65536") == ["[(0, True), (0, False)] {0}", f"0 {in_sync}"]

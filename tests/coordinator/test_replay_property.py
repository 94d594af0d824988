"""A coordinator killed at any record that loads the log has the same state as the surviving one had at that record."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .fakes import SUBSCRIPTION, FakeCluster, FakePartition, Harness, observe_replays, replayed, replicated

OTHER = bytes.fromhex("00010000000100027878ffffffff00000000")  # topic "xx"
GROUPS = ["a", "b"]
INSTANCES = [None, "i1"]
TOPIC_IDS = {"ct": uuid.UUID(int=1), "xx": uuid.UUID(int=2)}

operations = st.one_of(
    st.tuples(
        st.just("join"), st.sampled_from(GROUPS), st.integers(0, 2), st.sampled_from([SUBSCRIPTION, OTHER]),
        st.sampled_from(INSTANCES),
    ),
    st.tuples(st.just("sync"), st.sampled_from(GROUPS), st.integers(0, 2)),
    st.tuples(st.just("leave"), st.sampled_from(GROUPS), st.integers(0, 2)),
    st.tuples(
        st.just("commit"), st.sampled_from(GROUPS), st.integers(-1, 2), st.sampled_from(["ct", "xx"]),
        st.integers(0, 2), st.sampled_from([-1, 5_000]),
    ),
    st.tuples(st.just("delete_offsets"), st.sampled_from(GROUPS), st.sampled_from(["ct", "xx"])),
    st.tuples(st.just("delete_group"), st.sampled_from(GROUPS)),
    st.tuples(st.just("delete_topic"), st.sampled_from(["ct", "xx"])),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 12.0, 700.0])),
)  # fmt: skip


class Life:
    """One coordinator with one partition, and its state after each replayed record."""

    def __init__(self) -> None:
        self.harness = Harness(FakeCluster(1), group_initial_rebalance_delay_ms=500, offsets_retention_minutes=5)
        self.machine = self.harness.coordinator.runtime.shards[0].state
        self.held: list[dict[str, Any]] = [replicated(self.machine)]
        self.members: dict[tuple[str, int], str] = {}
        self.waiting: dict[tuple[str, int], list[dict[str, Any]]] = {}
        observe_replays(self.machine, self.held)

    def run(self, operation: tuple[Any, ...]) -> None:
        getattr(self, operation[0])(*operation[1:])
        for who, responses in list(self.waiting.items()):
            if responses:
                self.members[who] = responses[0]["member_id"]
                del self.waiting[who]

    def join(self, group: str, who: int, subscription: bytes, instance: str | None) -> None:
        self.waiting[group, who] = self.harness.join(
            group, self.members.get((group, who), "") if instance is None else "", instance=instance,
            session_ms=6000, rebalance_ms=9000, protocols=[("range", subscription)],
        )  # fmt: skip

    def sync(self, group: str, who: int) -> None:
        found = self.harness.group(group)
        member = self.members.get((group, who), "")
        generation = found.generation if found is not None else 1
        self.harness.sync(member, generation, {member: b"%d" % generation}, group=group)

    def leave(self, group: str, who: int) -> None:
        self.harness.leave([(self.members.pop((group, who), "none"), None)], group=group)

    def commit(self, group: str, who: int, topic: str, partition: int, retention_ms: int) -> None:
        found = self.harness.group(group)
        generation = -1 if who < 0 else found.generation if found is not None else 1
        self.harness.commit(
            group=group, member=self.members.get((group, who), ""), generation=generation, topic=topic,
            partition=partition, offset=len(self.held), retention_ms=retention_ms, topic_id=TOPIC_IDS[topic],
        )  # fmt: skip

    def delete_offsets(self, group: str, topic: str) -> None:
        self.harness.coordinator.delete_offsets(group, [(topic, 0), (topic, 1)], lambda error, errors: None)

    def delete_group(self, group: str) -> None:
        self.harness.delete_group(group)

    def delete_topic(self, topic: str) -> None:
        self.harness.coordinator.topics_deleted({topic: TOPIC_IDS[topic]})

    def wait(self, seconds: float) -> None:
        self.harness.loop.advance(seconds)


@given(st.lists(operations, min_size=5, max_size=40))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_loading_up_to_any_record_gives_the_state_of_that_time(steps: list[tuple[Any, ...]]) -> None:
    life = Life()
    for step in steps:
        life.run(step)
    assert replicated(life.machine) == life.held[-1], "replay alone changes what is stored"
    partition = life.harness.cluster.hosted[0]
    records = partition.records()
    assert len(life.held) == len(records) + 1
    for count in range(len(records) + 1):
        assert replicated(replayed(records[:count])) == life.held[count]
    offset = 0
    for count, batch in enumerate(partition.batches, 1):
        offset += len(FakePartition(batches=[batch]).records())
        cluster = FakeCluster(1)
        cluster.hosted[0] = FakePartition(
            high_watermark=offset, log_end_offset=offset, batches=partition.batches[:count]
        )
        loaded = Harness(cluster)
        assert replicated(loaded.coordinator.runtime.shards[0].state) == life.held[offset]
        loaded.coordinator.stop()

"""Commits through reactors between everything else that a coordinator does, in any order: memory and log always agree, a reactor
accepts only what the coordinator would accept, and what was acknowledged is there."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kafka_cy.coordinator import heartbeat_table, open_groups
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.open_groups import OPEN_FOR_NOBODY
from kafka_cy.protocol.errors import ErrorCode

from .direct_commits import Direct
from .fakes import SUBSCRIPTION

CLASSIC, SIMPLE, CONSUMER = "classic", "simple", "consumer"
NONE = ErrorCode.NONE
groups = st.sampled_from([CLASSIC, SIMPLE, CONSUMER])
partitions = st.sampled_from([("ct", 0), ("ct", 1), ("cu", 0)])
producers = st.sampled_from([7, 8])


class Commits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.direct = Direct(
            self.folder, offsets_retention_minutes=1, group_initial_rebalance_delay_ms=0, group_consumer_assignment_interval_ms=0
        )
        self.harness = self.direct.harness
        self.coordinator = self.harness.coordinator
        self.members: dict[str, tuple[str, int]] = {CLASSIC: ("", -1), CONSUMER: ("", -1), SIMPLE: ("", -1)}
        self.open_transactions: set[int] = set()
        self.offset = 0

    # -- commits --

    @rule(group=groups, where=partitions, older=st.sampled_from([0, 0, 0, 1]), version=st.sampled_from([8, 9, 10]))
    def commit(self, group: str, where: tuple[str, int], older: int, version: int) -> None:
        member, generation = self.members[group]
        generation -= older
        self.offset += 1
        self.direct.settle()
        found = self.harness.group(group)
        topic_id = self.direct.server.topic_ids[where[0]]
        asked = CommitRequest(
            group, generation, member, None, -1, version >= 9, [CommitPartition(where[0], topic_id, where[1], self.offset, 3, None)]
        )
        allowed = found is not None and found.validate_offset_commit(asked) is NONE
        error, direct = self.direct.commit(
            *where, self.offset, group=group, member=member, generation=generation, version=version
        )
        if direct:
            assert allowed and error is NONE
        if error is NONE:
            committed = self.direct.offsets(group).find(*where)
            assert committed is not None and committed.offset == self.offset
            if found is not None and found.open_for != OPEN_FOR_NOBODY and found.pending is None:
                # The next one is the reactor's.
                self.offset += 1
                again = self.direct.commit(*where, self.offset, group=group, member=member, generation=generation, version=version)
                assert again == (NONE, generation < 0 or generation == self.members[group][1])

    # -- members --

    @rule()
    def join(self) -> None:
        name = self.members[CLASSIC][0]
        responses = self.harness.join(CLASSIC, name, protocols=[("range", SUBSCRIPTION)], session_ms=1_000_000)
        self.harness.loop.advance(0.1)
        if responses and responses[0]["error_code"] == 0:
            member, generation = responses[0]["member_id"], responses[0]["generation_id"]
            self.harness.sync(member, generation, {member: b""}, group=CLASSIC)
            self.members[CLASSIC] = (member, generation)
        elif responses:
            self.members[CLASSIC] = ("", -1)

    @rule()
    def begin_rebalance(self) -> None:
        self.harness.join(CLASSIC, rebalance_ms=1000, session_ms=2000)

    @rule()
    def leave(self) -> None:
        if self.members[CLASSIC][0]:
            self.harness.leave([(self.members[CLASSIC][0], None)], group=CLASSIC)
            self.members[CLASSIC] = ("", -1)

    @rule(topics=st.sampled_from([("ct",), ("ct", "cu")]))
    def heartbeat(self, topics: tuple[str, ...]) -> None:
        member, epoch = self.members[CONSUMER]
        if not member:
            response = self.harness.join_consumer(CONSUMER, "m" + uuid.uuid4().hex, topics)
        else:
            response = self.harness.beat(CONSUMER, member, epoch, topic_names=topics)
        if response["error_code"] == 0:
            self.members[CONSUMER] = (response["member_id"], response["member_epoch"])
        else:
            self.members[CONSUMER] = ("", -1)
        self.direct.settle()

    @rule(older=st.sampled_from([0, 0, 0, 1]))
    def quiet_heartbeat(self, older: int) -> None:
        member, epoch = self.members[CONSUMER]
        epoch -= older
        if not member or epoch < 1:
            return
        found = self.harness.group(CONSUMER)
        asked = HeartbeatRequest(CONSUMER, member, epoch, client_id="k848", client_host="/127.0.0.1")
        heartbeats = self.coordinator.consumer.heartbeats
        changes_nothing = isinstance(found, ConsumerGroup) and heartbeats._steady_for_s(found, asked) > 0
        response, direct = self.direct.beat(CONSUMER, member, epoch)
        if direct:
            assert changes_nothing
        if changes_nothing:
            assert response["error_code"] == 0 and self.direct.beat(CONSUMER, member, epoch)[1], "the next one is the reactor's"
        elif response["error_code"] == 0:
            self.members[CONSUMER] = (member, response["member_epoch"])

    @rule()
    def leave_consumer(self) -> None:
        member, _ = self.members[CONSUMER]
        if member:
            self.harness.beat(CONSUMER, member, -1)
            self.members[CONSUMER] = ("", -1)

    # -- what removes offsets --

    @rule(group=groups, where=partitions)
    def delete_offsets(self, group: str, where: tuple[str, int]) -> None:
        self.coordinator.delete_offsets(group, [where], lambda error, errors: None)

    @rule(group=groups)
    def delete_group(self, group: str) -> None:
        self.harness.delete_group(group)

    @rule()
    def expire(self) -> None:
        self.harness.loop.advance(61)
        self.coordinator.runtime.in_slices(self.coordinator._expiry_pieces(), self.coordinator._expire_piece)
        self.direct.settle()

    # -- transactions, loading --

    @rule(group=groups, where=partitions, producer=producers)
    def commit_in_transaction(self, group: str, where: tuple[str, int], producer: int) -> None:
        self.offset += 1
        row = CommitPartition(where[0], None, where[1], self.offset, -1, None)
        asked = CommitRequest(group, -1, "", None, -1, False, [row], True)
        self.coordinator.commit_in_transaction(asked, (producer, 0), lambda: NONE, lambda error, errors: None)

    @rule(producer=producers, committed=st.booleans())
    def end_transaction(self, producer: int, committed: bool) -> None:
        self.direct.settle()
        self.direct.end_transaction(producer, committed)

    @rule()
    def load_again(self) -> None:
        self.coordinator.runtime.unload(0, reload=True)
        assert self.direct.directly([("ct", 0, 1)], group=SIMPLE) is None
        self.direct.settle()

    # -- always --

    @invariant()
    def memory_is_what_a_start_would_load(self) -> None:
        self.direct.settle()
        assert self.direct.in_memory() == self.direct.replayed()

    @invariant()
    def nothing_is_held(self) -> None:
        for group in self.coordinator.all_groups():
            assert group.holds == 0

    def teardown(self) -> None:
        try:
            self.direct.stop()
            assert open_groups.count() == 0 and heartbeat_table.count() == 0
        finally:
            shutil.rmtree(self.folder)


TestCommits = Commits.TestCase
TestCommits.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)

"""What a leader knows of its replicas, compared with a plain model of Kafka's rules: caught up, ISR, high watermark."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kafka_cy.storage.leader_replicas_probe import LeaderReplicasProbe
from kafka_cy.storage.live_brokers import set_live_brokers

LAG_MAX_MS = 100
FOLLOWERS = (2, 3, 4)


@dataclass
class ModelReplica:
    end: int = -1
    fetches: list[tuple[int, int, int]] = field(default_factory=list)  # (time, offset, the leader's end then)
    in_sync_since: int | None = None  # the leader counts it as caught up at this time, without a fetch

    def caught_up_ms(self) -> float:
        """The latest time at which it surely had everything: each fetch, or the one before it, may prove one."""
        times = [-1e18 if self.in_sync_since is None else float(self.in_sync_since)]
        end_before, time_before = None, 0
        for time_ms, offset, end in self.fetches:
            if offset >= end:
                times.append(time_ms)
            elif end_before is not None and offset >= end_before:
                times.append(time_before)
            end_before, time_before = max(end, end_before or 0), time_ms
        return max(times)


class Model:
    """The table "rule | definition" of replication, in sets."""

    def __init__(self, isr_min: int) -> None:
        self.isr_min = isr_min
        self.replicas = {id: ModelReplica() for id in FOLLOWERS}
        self.isr = set(FOLLOWERS)
        self.joining: set[int] = set()
        self.in_flight = False
        self.alive = set(FOLLOWERS)
        self.epoch_start = 0
        self.end = 0
        self.high_watermark = 0

    def caught_up(self, id: int, now_ms: int) -> bool:
        replica = self.replicas[id]
        return replica.end == self.end or now_ms - replica.caught_up_ms() <= LAG_MAX_MS

    def waited_for(self, now_ms: int) -> set[int]:
        outside = {id for id in set(FOLLOWERS) & self.alive if self.caught_up(id, now_ms)}
        return self.isr | self.joining | outside

    def advance(self, now_ms: int) -> None:
        if len(self.isr) + 1 < min(self.isr_min, len(FOLLOWERS) + 1):
            return
        allowed = min([self.end, *(self.replicas[id].end for id in self.waited_for(now_ms))])
        self.high_watermark = max(self.high_watermark, allowed)

    def may_join(self, id: int) -> bool:
        enough = self.replicas[id].end >= max(self.high_watermark, self.epoch_start)
        return id not in self.isr and not self.in_flight and id in self.alive and enough

    def lagging(self, now_ms: int) -> set[int]:
        return set() if self.in_flight else {id for id in self.isr if not self.caught_up(id, now_ms)}


class Leader(RuleBasedStateMachine):
    """Random histories of one leader. `ignores_joining` breaks a rule: the high watermark looks at the stored ISR only."""

    ignores_joining = False

    @initialize(isr_min=st.integers(1, 4), isr=st.sets(st.sampled_from(FOLLOWERS)))
    def begin(self, isr_min: int, isr: set[int]) -> None:
        set_live_brokers(FOLLOWERS)
        self.now_ms = 0
        self.model = Model(isr_min)
        self.probe = LeaderReplicasProbe(LAG_MAX_MS, isr_min)
        self.high_watermark = 0
        self.leaving: set[int] = set()
        self.probe.assign(FOLLOWERS, isr)
        self.model.isr = set(isr)
        self.lead(True)

    def advance(self) -> None:
        self.model.advance(self.now_ms)
        end = self.model.end
        self.high_watermark = max(self.high_watermark, self.probe.high_watermark(end, end, self.now_ms))

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        self.model.end += count
        self.advance()

    @rule(ms=st.sampled_from([101, 250, 100, 99, 40, 1]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(id=st.sampled_from(FOLLOWERS), step=st.integers(0, 12))
    def fetch(self, id: int, step: int) -> None:
        replica = self.model.replicas[id]
        offset = min(max(replica.end, 0) + step, self.model.end)
        replica.end = offset
        replica.fetches.append((self.now_ms, offset, self.model.end))
        self.probe.fetched(id, offset, self.model.end, self.now_ms)
        self.advance()

    @rule(first=st.sampled_from(FOLLOWERS))
    def propose_to_expand(self, first: int) -> None:
        ready = [id for id in (*range(first, 5), *range(2, first)) if self.model.may_join(id)]
        if not ready:
            return
        id = ready[0]
        if not self.ignores_joining:
            assert self.probe.propose(id)
        self.model.joining, self.model.in_flight = {id}, True

    @rule()
    def propose_to_shrink(self) -> None:
        if self.model.lagging(self.now_ms):
            assert self.probe.propose()
            self.leaving, self.model.in_flight = self.model.lagging(self.now_ms), True

    @precondition(lambda self: self.model.in_flight)
    @rule()
    def controller_refuses(self) -> None:
        self.probe.withdraw()
        self.model.joining, self.model.in_flight = set(), False
        self.advance()

    @precondition(lambda self: self.model.in_flight)
    @rule()
    def controller_agrees(self) -> None:
        self.store(self.model.isr | self.model.joining if self.model.joining else self.model.isr - self.leaving)

    @rule(isr=st.sets(st.sampled_from(FOLLOWERS)))
    def controller_stores_another_isr(self, isr: set[int]) -> None:
        self.store(isr)

    def store(self, isr: set[int]) -> None:
        self.probe.assign(FOLLOWERS, isr)
        for id in self.model.isr - isr:
            self.model.replicas[id] = ModelReplica()
        self.model.isr, self.model.joining, self.model.in_flight = set(isr), set(), False
        self.advance()

    @rule(anew=st.booleans())
    def lead(self, anew: bool) -> None:
        """A new leader epoch. The controller's ISR comes with it, so nothing is in flight."""
        self.probe.withdraw()
        self.model.joining, self.model.in_flight = set(), False
        self.probe.lead(self.model.end, self.now_ms, anew)
        self.model.epoch_start = self.model.end
        for id, replica in self.model.replicas.items():
            in_sync = id in self.model.isr
            if anew or not in_sync:
                replica.end, replica.fetches = -1, []
            else:
                before = (self.now_ms, replica.end, self.model.end)
                replica.fetches = [before] if replica.end < self.model.end else []
            replica.in_sync_since = self.now_ms if in_sync else None
        self.advance()

    @rule(alive=st.sets(st.sampled_from(FOLLOWERS)))
    def brokers_come_and_go(self, alive: set[int]) -> None:
        set_live_brokers(alive)
        self.model.alive = set(alive)

    @rule(isr_min=st.integers(1, 4))
    def configuration_changes(self, isr_min: int) -> None:
        self.probe.set_isr_min(isr_min)
        self.model.isr_min = isr_min

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        model, now = self.model, self.now_ms
        assert self.high_watermark == model.high_watermark
        for id in FOLLOWERS:
            assert self.probe.caught_up(id, model.end, now) == model.caught_up(id, now)
            if not self.ignores_joining:
                assert self.probe.may_join(id, model.high_watermark) == model.may_join(id)
        if not self.ignores_joining:
            assert set(self.probe.lagging(model.end, now)) == model.lagging(now)
            assert self.probe.maximal_isr_count == 1 + len(model.isr | model.joining)


class LeaderThatIgnoresJoining(Leader):
    ignores_joining = True


SETTINGS = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_histories_of_a_leader() -> None:
    try:
        run_state_machine_as_test(Leader, settings=SETTINGS)
    finally:
        set_live_brokers(range(16))


@pytest.mark.parametrize("machine", [Leader, LeaderThatIgnoresJoining])
def test_a_high_watermark_by_the_stored_isr_is_found(machine: type[Leader]) -> None:
    """The negative control: a joining replica may be in the ISR that the next leader is elected from, so it is waited for."""
    history = machine()
    try:
        history.begin(1, {2})
        history.append(3)
        for follower in (2, 3):
            history.fetch(follower, 3)
        history.propose_to_expand(3)
        history.time_passes(250)
        history.append(2)
        history.agrees()
        history.fetch(2, 2)
        if machine is Leader:
            history.agrees()
            assert history.high_watermark == 3
        else:
            assert history.high_watermark == 5
            with pytest.raises(AssertionError):
                history.agrees()
    finally:
        set_live_brokers(range(16))


def leader(isr_min: int = 1, isr: tuple[int, ...] = (2, 3)) -> LeaderReplicasProbe:
    probe = LeaderReplicasProbe(LAG_MAX_MS, isr_min)
    probe.assign([2, 3], isr)
    probe.lead(0, 0, True)
    return probe


def test_a_replica_that_is_never_at_the_end_is_caught_up_while_it_follows() -> None:
    probe = leader()
    for now in range(0, 1000, 50):
        probe.fetched(2, now, now + 50, now)  # 50 records behind, always
    assert probe.lagging(1000, 1000) == [3]
    assert probe.lagging(1000, 1000 + LAG_MAX_MS + 1) == [2, 3]


def test_no_watermark_below_min_insync_replicas() -> None:
    probe = leader(isr_min=3, isr=(2,))
    probe.fetched(2, 10, 10, 0)
    probe.fetched(3, 10, 10, 0)
    assert probe.high_watermark(10, 10, 0) == -1
    probe.assign([2, 3], (2, 3))
    assert probe.high_watermark(10, 10, 0) == 10
    alone = LeaderReplicasProbe(LAG_MAX_MS, 3)
    alone.assign([2], (2,))
    alone.lead(0, 0, True)
    alone.fetched(2, 10, 10, 0)
    assert alone.high_watermark(10, 10, 0) == 10  # there are not more replicas than two


def test_one_change_at_a_time() -> None:
    probe = leader(isr=(2,))
    probe.fetched(3, 5, 5, 0)
    assert probe.propose(3)
    assert not probe.propose(3)
    assert not probe.propose()
    assert probe.maximal_isr_count == 3
    probe.withdraw()
    assert probe.maximal_isr_count == 2
    assert not probe.propose(2)  # a member already
    assert not probe.propose(9)  # no replica


def test_a_replica_outside_the_isr_is_judged_by_fetches_of_this_epoch_since_it_left() -> None:
    probe = leader()
    for id in (2, 3):
        probe.fetched(id, 5, 5, 0)
    probe.assign([2, 3], (2,))
    assert not probe.may_join(3, 5)  # its broker may have died and lost what it had
    probe.fetched(3, 5, 5, 10)
    assert probe.may_join(3, 5)
    probe.lead(5, 20, False)
    assert not probe.may_join(3, 5)
    probe.fetched(3, 5, 5, 30)
    assert probe.may_join(3, 5)


def test_a_follower_has_no_isr() -> None:
    probe = leader()
    probe.propose()
    probe.resign()
    assert probe.maximal_isr_count == 0
    assert probe.lagging(100, 10_000) == []

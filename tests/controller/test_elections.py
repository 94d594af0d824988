"""Elections and changes of the ISR as pure functions: what must be true of every outcome."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.controller import elections
from kafka_cy.controller.alter_partition import check_change
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment
from kafka_cy.protocol.controller_messages.alter_partition import IsrMember, PartitionChange
from kafka_cy.protocol.errors import ErrorCode

BROKERS = st.integers(1, 6)
REPLICAS = st.lists(BROKERS, min_size=1, max_size=5, unique=True).map(tuple)


@st.composite
def partitions(draw: st.DrawFn) -> tuple[LeaderAndIsr, ReplicaAssignment, frozenset[int]]:
    """A state, its assignment, and the brokers that live."""
    replicas = draw(REPLICAS)
    isr = tuple(draw(st.lists(st.sampled_from(replicas), min_size=1, unique=True)))
    leader = draw(st.sampled_from((-1, *isr)))
    state = LeaderAndIsr(leader, draw(st.integers(0, 9)), isr, draw(st.integers(0, 9)), 1)
    target = draw(REPLICAS)
    assignment = ReplicaAssignment(replicas)
    if draw(st.booleans()):
        assignment = assignment.reassigned_to(target)
    return state, assignment, frozenset(draw(st.sets(BROKERS)))


@given(partitions(), st.booleans())
def test_an_offline_election_takes_a_live_member_of_the_isr_if_there_is_one(
    made: tuple[LeaderAndIsr, ReplicaAssignment, frozenset[int]], unclean: bool
) -> None:
    state, assignment, live = made
    elected = elections.elect_offline(state, assignment, live.__contains__, unclean)
    candidates = [each for each in assignment.replicas if each in live and each in state.isr]
    if candidates:
        assert elected.state is not None and not elected.unclean
        assert elected.state.leader == candidates[0] and elected.state.isr == tuple(i for i in state.isr if i in live)
        assert elected.state.leader_recovery_state == state.leader_recovery_state
    elif unclean and live & set(assignment.replicas):
        assert elected.state is not None and elected.unclean and elected.state.leader_recovery_state == 1
        assert elected.state.isr == (elected.state.leader,) and elected.state.leader in live
    else:
        assert elected.state is None
    if elected.state is not None:
        assert elected.state.leader_epoch == state.leader_epoch + 1
        assert elected.state.partition_epoch == state.partition_epoch


@given(partitions(), st.sets(BROKERS))
def test_every_clean_leader_was_in_the_isr_and_stays_in_it(
    made: tuple[LeaderAndIsr, ReplicaAssignment, frozenset[int]], shutting_down: set[int]
) -> None:
    state, assignment, live = made
    live = live - shutting_down
    for elected in (
        elections.elect_preferred(state, assignment, live.__contains__),
        elections.elect_for_reassignment(state, assignment, live.__contains__),
        elections.elect_for_shutdown(state, assignment, live.__contains__, shutting_down),
    ):
        if elected.state is not None:
            assert elected.state.leader in state.isr and elected.state.leader in live
            assert elected.state.leader in elected.state.isr and set(elected.state.isr) <= set(state.isr)
            assert elected.state.leader_epoch == state.leader_epoch + 1


@given(partitions(), BROKERS, st.sets(BROKERS))
def test_an_isr_is_never_empty(
    made: tuple[LeaderAndIsr, ReplicaAssignment, frozenset[int]], replica: int, assigned: set[int]
) -> None:
    state, _, _ = made
    after = elections.without_replica(state, replica, assigned)
    assert after.isr and after.leader in (*after.isr, -1) and after.leader != replica
    assert set(after.isr) <= set(state.isr)
    others = set(state.isr) - {replica}
    if others & assigned or after.leader >= 0:
        assert replica not in after.isr
    assert after.leader >= 0 or set(after.isr) & assigned or not set(state.isr) & assigned, "somebody can be elected"


def test_a_member_that_a_reassignment_left_over_is_not_the_last_one() -> None:
    """It is not assigned, so that it would never be elected, and nobody else either (seed 639 of the simulator)."""
    state = LeaderAndIsr(4, 3, (4, 1), 4, 2)
    assert elections.without_replica(state, 4, (4, 2, 3)) == state._replace(leader=-1, leader_epoch=4, isr=(4,))
    led = state._replace(leader=1)
    assert elections.without_replica(led, 4, (4, 2, 3)) == led._replace(leader_epoch=4, isr=(1,)), "it leads, and others may join"


@given(REPLICAS, REPLICAS, REPLICAS)
def test_a_reassignment_can_be_changed_and_cancelled(
    origin: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    one = ReplicaAssignment(origin).reassigned_to(first)
    assert one.target_replicas == first and set(one.origin_replicas) == set(origin)
    assert set(one.replicas) == set(origin) | set(first) and not set(one.adding) & set(origin)
    two = one.reassigned_to(second)
    assert two.target_replicas == second and set(two.origin_replicas) == set(origin)
    cancelled = two.reassigned_to(two.origin_replicas)
    assert set(cancelled.replicas) == set(origin) and not cancelled.is_being_reassigned


CURRENT = LeaderAndIsr(1, 5, (1, 2), 7, 3)


def check(
    *, leader_epoch: int = 5, isr: tuple[int, ...] = (1, 2, 3), recovery: int = 0, partition_epoch: int = 7,
    current: LeaderAndIsr = CURRENT, version: int = 3,
) -> tuple[ErrorCode, LeaderAndIsr | None]:  # fmt: skip
    change = PartitionChange(0, leader_epoch, tuple(map(IsrMember, isr)), recovery, partition_epoch)
    return check_change(change, current, lambda member: member.broker_id < 9, version)


def test_a_change_of_the_isr_is_checked_in_kafkas_order() -> None:
    assert check() == (ErrorCode.NONE, CURRENT._replace(isr=(1, 2, 3)))
    assert check(isr=(1,)) == (ErrorCode.NONE, CURRENT._replace(isr=(1,)))
    assert check(leader_epoch=6) == (ErrorCode.NOT_CONTROLLER, None)
    assert check(partition_epoch=8, leader_epoch=4) == (ErrorCode.NOT_CONTROLLER, None)
    assert check(leader_epoch=4) == (ErrorCode.FENCED_LEADER_EPOCH, None)
    assert check(isr=(1, 2), partition_epoch=6) == (ErrorCode.NONE, None)  # a repetition
    assert check(partition_epoch=6) == (ErrorCode.INVALID_UPDATE_VERSION, None)
    recovering = CURRENT._replace(isr=(1,), leader_recovery_state=1)
    assert check(recovery=1, current=recovering) == (ErrorCode.INVALID_REQUEST, None)
    assert check(recovery=0, current=recovering) == (ErrorCode.NONE, CURRENT._replace(isr=(1, 2, 3)))
    assert check(isr=(1,), recovery=1) == (ErrorCode.INVALID_REQUEST, None)
    assert check(isr=(1, 9)) == (ErrorCode.INELIGIBLE_REPLICA, None)
    assert check(isr=(1, 9), version=1) == (ErrorCode.OPERATION_NOT_ATTEMPTED, None)


def test_no_isr_without_its_leader_is_accepted() -> None:
    for isr in ((), (2, 3), (1, 1)):
        assert check(isr=isr) == (ErrorCode.INVALID_REQUEST, None)
    assert check(isr=(1,), recovery=7) == (ErrorCode.INVALID_REQUEST, None)

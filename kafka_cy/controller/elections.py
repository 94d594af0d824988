"""Which replica leads a partition: pure functions of its assignment, its state and the replicas that live.

All of Kafka's elections take the first candidate in the order of the assignment. None: there is no candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment
from kafka_cy.protocol.controller_messages.update_metadata import LEADER_NONE

Online = Callable[[int], bool]


class Elected:
    """The outcome of an election: the new state (None: no candidate), who has to know it, and whether records may be lost."""

    __slots__ = ("receivers", "state", "unclean")

    def __init__(self, state: LeaderAndIsr | None, receivers: tuple[int, ...], unclean: bool = False) -> None:
        self.state = state
        self.receivers = receivers
        self.unclean = unclean


def elect_offline(
    state: LeaderAndIsr, assignment: ReplicaAssignment, online: Online, unclean_allowed: bool, recovers: bool = True
) -> Elected:
    """The leader is gone: a live member of the ISR; if allowed, any live replica, which is then the whole ISR.

    `recovers`: whether leaders know of recovery states (inter.broker.protocol.version 3.2).
    """
    live = tuple([replica for replica in assignment.replicas if online(replica)])
    leader = next((replica for replica in live if replica in state.isr), None)
    if leader is not None:
        isr = tuple([replica for replica in state.isr if online(replica)])
        return Elected(state.next_epoch(leader, isr), live)
    if not unclean_allowed or not live:
        return Elected(None, live)
    elected = state.next_epoch(live[0], (live[0],))._replace(leader_recovery_state=int(recovers))
    return Elected(elected, live, unclean=True)


def elect_preferred(state: LeaderAndIsr, assignment: ReplicaAssignment, online: Online) -> Elected:
    """The first replica of the assignment, if it lives and is in the ISR. The ISR stays."""
    preferred = assignment.replicas[0]
    if not online(preferred) or preferred not in state.isr:
        return Elected(None, assignment.replicas)
    return Elected(state.next_epoch(preferred, state.isr), assignment.replicas)


def elect_for_reassignment(state: LeaderAndIsr, assignment: ReplicaAssignment, online: Online) -> Elected:
    """The first target replica that lives and is in the ISR. The ISR stays."""
    target = assignment.target_replicas
    leader = next((replica for replica in target if online(replica) and replica in state.isr), None)
    return Elected(None if leader is None else state.next_epoch(leader, state.isr), target)


def elect_for_shutdown(
    state: LeaderAndIsr, assignment: ReplicaAssignment, online: Online, shutting_down: Collection[int]
) -> Elected:
    """The first live member of the ISR that does not shut down. Those that shut down leave the ISR."""
    receivers = tuple([replica for replica in assignment.replicas if online(replica) or replica in shutting_down])
    isr = tuple([replica for replica in state.isr if replica not in shutting_down])
    leader = next((replica for replica in assignment.replicas if replica in isr and online(replica)), None)
    return Elected(None if leader is None else state.next_epoch(leader, isr), receivers)


def without_replica(state: LeaderAndIsr, replica: int, assigned: Collection[int]) -> LeaderAndIsr:
    """The state after a replica went offline. The last member stays in the ISR, for it alone may lead without loss.

    A member that a reassignment has left over, because its controller ended, does not count as the last one: it cannot be elected.
    """
    leader = LEADER_NONE if state.leader == replica else state.leader
    isr = tuple([member for member in state.isr if member != replica])
    if leader == LEADER_NONE and not any(member in assigned for member in isr):
        isr = tuple([member for member in state.isr if member in assigned]) or isr or state.isr
    return state.next_epoch(leader, isr)

"""Heartbeats of the newer kinds of groups to whose members nothing happens, at `throughput` heartbeats a second.

`groups` groups of `members` members of the `member_kind` join first; then `producers` connections send their heartbeats in turn.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from kafka_cy.bench.bench_topic import bench_topic
from kafka_cy.bench.brokers import BrokerError, Target
from kafka_cy.bench.group_members import ConsumerMember, Crowd
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Load
from kafka_cy.bench.modern_members import LEFT, MEMBER_KINDS, ShareMember
from kafka_cy.bench.native_runner import NativeRunner, new_native_load, raise_descriptor_limit
from kafka_cy.bench.requests import RequestHead
from kafka_cy.bench.threaded_load import LoadFailure
from kafka_cy.bench.wire import Wire
from kafka_cy.bench.workloads.group_members import consumers_are_stable, leave, run_until
from kafka_cy.bench.workloads.groups import delete_groups, prepare_coordinator

ERROR_AT = 4 + 4 + 1 + 4  # length, correlation id, tags, throttle time


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """The groups are deleted afterwards. Needs a single broker. Raises BrokerError, OptionError."""
    raise_descriptor_limit(options.groups * options.members + options.producers)
    with bench_topic(target, options) as topic:
        if len(set(topic.leaders)) > 1:
            raise OptionError("The load of idle members supports only a single broker.")
        address, prefix = topic.leaders[0], f"bench-{uuid.uuid4().hex[:8]}"
        groups: dict[str, list[ConsumerMember]] = {}
        prepare_coordinator(target, prefix, topic.name)
        try:
            for number in range(options.groups):
                group = f"{prefix}-{number:06d}"
                kind = MEMBER_KINDS[options.member_kind]
                groups[group] = [kind(address, group, topic.name) for _ in range(options.members)]
            join(list(groups.values()), topic.partitions)
            native = new_native_load(target, options)
            everyone = [member for each in groups.values() for member in each]
            for index in range(options.producers):
                mine = everyone[index :: options.producers]
                heads = [RequestHead(each.steady_request(), -1, -1, ERROR_AT, ERROR_AT + 2) for each in mine]
                native.add_requests(address, heads)
            yield NativeRunner(native)
        finally:
            if target.alive():
                leave_all(address, list(groups.items()), options.member_kind)
            delete_groups(target, list(groups))


def join(groups: list[list[ConsumerMember]], partitions: int) -> None:
    """Wait until the groups are stable. Their members need their connections no longer. Raises BrokerError."""
    crowd = Crowd([member for members in groups for member in members])
    try:
        run_until(crowd, lambda: all(are_stable(each, partitions) for each in groups))
    except LoadFailure as failure:
        raise BrokerError(str(failure)) from None
    finally:
        crowd.close()


def are_stable(members: list[ConsumerMember], partitions: int) -> bool:
    """Whether all have reached the same epoch with what they are assigned. Members of a share group may share partitions, but
    each partition is assigned in the end."""
    if isinstance(members[0], ShareMember):
        counts = [each.count for each in members]
        return all(each.epoch == members[0].epoch > 0 for each in members) and min(counts) > 0 and sum(counts) >= partitions
    return consumers_are_stable(members, partitions)


def leave_all(address: tuple[str, int], groups: list[tuple[str, list[ConsumerMember]]], kind: str) -> None:
    """The groups get empty, so that they can be deleted. LeaveGroup is for consumers only."""
    wire = Wire(address)
    for group, members in groups:
        if kind in {"share", "streams"}:
            for each in members:
                each.epoch = LEFT
                wire.ask(each.steady_request())
        else:
            leave(address, group, [each.member_id for each in members])
    wire.close()

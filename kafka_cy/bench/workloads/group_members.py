"""Members of one group that all join at once: a request is the time until the group of `members` members is stable."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from kafka_cy.bench.bench_topic import BenchTopic, bench_topic
from kafka_cy.bench.brokers import Target
from kafka_cy.bench.group_members import ClassicMember, ConsumerMember, Crowd, leave_request
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Load
from kafka_cy.bench.native_runner import raise_descriptor_limit
from kafka_cy.bench.threaded_load import LoadFailure, ThreadedLoad
from kafka_cy.bench.wire import Wire
from kafka_cy.bench.workloads.groups import delete_groups, prepare_coordinator

STABLE_TIMEOUT_S = 120.0


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """`group_protocol` says which kind of group. Needs a single broker. Raises OptionError."""
    raise_descriptor_limit(options.members)
    with bench_topic(target, options) as topic:
        if len(set(topic.leaders)) > 1:
            raise OptionError("The load of group members supports only a single broker.")
        prefix = f"bench-{uuid.uuid4().hex[:8]}"
        prepare_coordinator(target, prefix, topic.name)
        joins = ThreadedLoad(options)
        groups: list[str] = []
        joins.add(partial(join_again_and_again, joins, topic, options, prefix, groups))
        try:
            yield joins
        finally:
            delete_groups(target, groups)


def join_again_and_again(
    load: ThreadedLoad, topic: BenchTopic, options: LoadOptions, prefix: str, groups: list[str]
) -> None:
    """A new group each time; the last one is not interrupted."""
    while not load.is_over():
        groups.append(f"{prefix}-{len(groups)}")
        if options.group_protocol == "consumer":
            consumers = [ConsumerMember(topic.leaders[0], groups[-1], topic.name) for _ in range(options.members)]
            crowd, is_stable = Crowd(consumers), partial(consumers_are_stable, consumers, topic.partitions)
        else:
            classics = [ClassicMember(topic.leaders[0], groups[-1], topic.name) for _ in range(options.members)]
            crowd, is_stable = Crowd(classics), partial(classics_are_stable, classics)
        try:
            began_ns = time.monotonic_ns()
            run_until(crowd, is_stable)
            load.answered(began_ns, options.members, 0)
            leave(topic.leaders[0], groups[-1], [each.member_id for each in crowd.members])
        finally:
            crowd.close()


def run_until(crowd: Crowd, is_stable: Callable[[], bool]) -> None:
    """Let the members work. Raises LoadFailure when it takes too long."""
    deadline_s = time.monotonic() + STABLE_TIMEOUT_S
    while not is_stable():
        crowd.step()
        if time.monotonic() > deadline_s:
            raise LoadFailure(f"The group was not stable after {STABLE_TIMEOUT_S:.0f} s.")


def classics_are_stable(members: Sequence[ClassicMember]) -> bool:
    """Whether all have the assignment of a generation with all of them."""
    generation = members[0].generation
    return all(each.generation == generation for each in members) and any(each.size == len(members) for each in members)


def consumers_are_stable(members: Sequence[ConsumerMember], partitions: int) -> bool:
    """Whether all have reached the same epoch, and the partitions are distributed evenly among them."""
    epoch, most = members[0].epoch, -(-partitions // len(members))
    counts = [each.count for each in members]
    return epoch > 0 and all(each.epoch == epoch for each in members) and sum(counts) == partitions and max(counts) <= most


def leave(address: tuple[str, int], group: str, member_ids: Sequence[str]) -> None:
    """All members leave at once (a consumer group accepts the request of the classic protocol, too)."""
    wire = Wire(address)
    wire.ask(leave_request(group, member_ids))
    wire.close()

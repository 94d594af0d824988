"""What ShareFetch and ShareAcknowledge have in common: reading acknowledgements, and the leader of a refused partition."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.change_pieces import add_task
from kafka_cy.base.slices import at_once
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.fetch_requests import PartitionResult, Results
from kafka_cy.share.sessions import TopicPartition

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups

PARTITIONS_AT_ONCE_MAX = 100  # of a response that is built at once, which takes about a millisecond
NAMED_AT_ONCE = 32  # partitions that are looked at in one step
Leaders = dict[TopicPartition, dict[str, int]]
NO_LEADER = {"leader_id": 0, "leader_epoch": 0}


def partition_count(topics: Iterable[Any]) -> int:
    """How many partitions the request names."""
    return sum(len(topic.partitions) for topic in topics)


def named_partitions(topics: Iterable[Any]) -> Generator[None, None, list[TopicPartition]]:
    """Every partition that the request names, once. A few in each step."""
    found: dict[TopicPartition, None] = {}
    for topic in topics:
        for each in topic.partitions:
            found[topic.topic_id, each.partition_index] = None
            if len(found) % NAMED_AT_ONCE == 0:
                yield
    return list(found)


def acknowledgements(topics: Iterable[Any]) -> Generator[None, None, dict[TopicPartition, Acknowledgements]]:
    """The acknowledgements of the partitions that have some; of a partition that is named twice all of them.

    One partition in each step.
    """
    rows: dict[TopicPartition, list[Any]] = {}
    for topic in topics:
        for each in topic.partitions:
            if each.acknowledgement_batches:
                rows.setdefault((topic.topic_id, each.partition_index), []).extend(each.acknowledgement_batches)
                yield
    found: dict[TopicPartition, Acknowledgements] = {}
    for partition, batches in rows.items():
        found[partition] = Acknowledgements.of_request(batches)
        yield
    return found


def respond_with(
    request: Request[Any], context: UsesShareGroups, results: Results, make: Callable[[Leaders], dict[str, Any]]
) -> None:
    """Respond with what `make` builds from the leaders of refused partitions: on another thread if the results are many."""
    leaders: Leaders = {}
    steps = _find_leaders(context, results, leaders)
    if len(results) > PARTITIONS_AT_ONCE_MAX:
        made = partial(make, leaders)
        request.respond_long(
            lambda ready: add_task(request, context.share.fetches.walks.slices, steps, lambda: ready(made))
        )
    else:
        at_once(steps)
        request.respond(make(leaders))


def _find_leaders(context: UsesShareGroups, results: Results, leaders: Leaders) -> Generator[None, None, None]:
    for count, (partition, result) in enumerate(results.items(), 1):
        if result.error:
            leaders[partition] = current_leader(context.cluster, partition, result.error)
        if count % NAMED_AT_ONCE == 0:
            yield


def by_topic(results: Results) -> Iterator[tuple[Any, list[tuple[int, PartitionResult]]]]:
    """The results of each topic: partition index and result, in the order of the results."""
    topics: dict[Any, list[tuple[int, PartitionResult]]] = {}
    for (topic_id, index), result in results.items():
        topics.setdefault(topic_id, []).append((index, result))
    yield from topics.items()


def current_leader(cluster: Any, partition: TopicPartition, error: ErrorCode) -> dict[str, int]:
    """Leader and epoch for a client that asked the wrong broker."""
    topic = cluster.topic_by_id.get(partition[0])
    if error is not ErrorCode.NOT_LEADER_OR_FOLLOWER or topic is None:
        return NO_LEADER
    found = topic.partitions[partition[1]]
    return {"leader_id": found.leader, "leader_epoch": found.leader_epoch}

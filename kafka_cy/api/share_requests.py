"""What ShareFetch and ShareAcknowledge have in common: reading requests, and the rows of their responses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from kafka_cy.api.change_pieces import add_task
from kafka_cy.base.slices import AT_ONCE_MAX, at_once, in_work
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.fetch_requests import PartitionResult, Results
from kafka_cy.share.sessions import TopicPartition

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesShareGroups

PARTITIONS_AT_ONCE_MAX = 100  # of a response that is built at once, which takes about a millisecond
NAMED_AT_ONCE = 32  # topics and partitions that are looked at in one step
READ_AT_ONCE = 2000  # batches of acknowledgements and types of one partition that are read in one step
LIKE_A_PARTITION = 256  # reading so many of them takes as long as the other work for a partition
Leaders = dict[TopicPartition, dict[str, int]]
NO_LEADER = {"leader_id": 0, "leader_epoch": 0}


def request_size(topics: Sequence[Any], forgotten: Sequence[Any] = ()) -> int:
    """How much there is to read: topics and partitions, and acknowledgements, of which many count as one partition.

    Once it is too much to be read at once, nothing more is counted.
    """
    size = len(topics) + len(forgotten)
    for topic in chain(topics, forgotten):
        if size > AT_ONCE_MAX:
            return size
        size += len(topic.partitions)
    for each in chain.from_iterable(topic.partitions for topic in topics):
        if size > AT_ONCE_MAX:
            return size
        size += _weight(each.acknowledgement_batches) // LIKE_A_PARTITION
    return size


def named_partitions(topics: Iterable[Any]) -> Generator[None, None, list[TopicPartition]]:
    """Every partition that the request names, once. A few in each step."""
    found: dict[TopicPartition, None] = {}
    for each in _each_partition(topics):
        if each is None:
            yield
        else:
            found[each[0], each[1].partition_index] = None
    return list(found)


def forgotten_partitions(topics: Iterable[Any]) -> Generator[None, None, list[TopicPartition]]:
    """Those of `forgotten_topics_data`. A few in each step."""
    found: list[TopicPartition] = []
    for each in _each_partition(topics):
        if each is None:
            yield
        else:
            found.append(each)
    return found


def _each_partition(topics: Iterable[Any]) -> Iterator[tuple[Any, Any] | None]:
    """The topic id and the element of each partition; None after a few topics and partitions, also if nothing new is found."""
    looks = count(1)
    for topic in topics:
        if next(looks) % NAMED_AT_ONCE == 0:
            yield None
        for each in topic.partitions:
            yield topic.topic_id, each
            if next(looks) % NAMED_AT_ONCE == 0:
                yield None


def acknowledgements(topics: Iterable[Any]) -> Generator[object, None, dict[TopicPartition, Acknowledgements]]:
    """The acknowledgements of the partitions that have some; of a partition that is named twice all of them.

    One partition in each step; many acknowledgements of a partition are a Work.
    """
    parts: dict[TopicPartition, list[Sequence[Any]]] = {}
    for each in _each_partition(topics):
        if each is None:
            yield None
        elif each[1].acknowledgement_batches:
            parts.setdefault((each[0], each[1].partition_index), []).append(each[1].acknowledgement_batches)
    found: dict[TopicPartition, Acknowledgements] = {}
    for partition, batches in parts.items():
        read = partial(_read, batches)
        found[partition] = (yield from in_work(read)) if _are_many(batches) else read()
        yield None
    return found


def _read(parts: Iterable[Sequence[Any]]) -> Acknowledgements:
    return Acknowledgements.of_request(list(chain.from_iterable(parts)))


def _are_many(parts: Sequence[Sequence[Any]]) -> bool:
    """Whether reading them takes long."""
    if len(parts) > NAMED_AT_ONCE:
        return True
    weight = 0
    for batches in parts:
        weight += _weight(batches)
        if weight > READ_AT_ONCE:
            return True
    return False


def _weight(batches: Sequence[Any]) -> int:
    """Batches and their types; of many batches only those."""
    weight = len(batches)
    return weight if weight > READ_AT_ONCE else weight + sum(len(each.acknowledge_types) for each in batches)


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
    for looked, (partition, result) in enumerate(results.items(), 1):
        if result.error:
            leaders[partition] = current_leader(context.cluster, partition, result.error)
        if looked % NAMED_AT_ONCE == 0:
            yield


def topic_responses(
    results: Results, leaders: Leaders, more: Callable[[PartitionResult], dict[str, Any]] = lambda result: {}
) -> list[dict[str, Any]]:
    """The part of a response about each topic, in the order of the results. `more`: further fields of a partition."""
    topics: dict[Any, list[dict[str, Any]]] = {}
    for (topic_id, index), result in results.items():
        topics.setdefault(topic_id, []).append(
            {
                "partition_index": index,
                "error_code": int(result.error),
                "error_message": None,
                "current_leader": leaders.get((topic_id, index), NO_LEADER),
                **more(result),
            }
        )
    return [{"topic_id": topic_id, "partitions": partitions} for topic_id, partitions in topics.items()]


def current_leader(cluster: Any, partition: TopicPartition, error: ErrorCode) -> dict[str, int]:
    """Leader and epoch for a client that asked the wrong broker."""
    topic = cluster.topic_by_id.get(partition[0])
    if error is not ErrorCode.NOT_LEADER_OR_FOLLOWER or topic is None:
        return NO_LEADER
    found = topic.partitions[partition[1]]
    return {"leader_id": found.leader, "leader_epoch": found.leader_epoch}

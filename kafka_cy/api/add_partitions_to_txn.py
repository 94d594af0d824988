"""AddPartitionsToTxn (API 24): partitions become part of a transaction.

v0-3: a producer's request for one transaction. v2 (KIP-588): PRODUCER_FENCED; v0-1 get INVALID_PRODUCER_EPOCH. v4 on
(KIP-890): several transactions, from brokers; with `verify_only` nothing is added, and a partition that is not part of its
transaction gets TRANSACTION_ABORTABLE. If a partition does not exist, it gets UNKNOWN_TOPIC_OR_PARTITION, and the others of
its transaction get OPERATION_NOT_ATTEMPTED. A request with more than PARTITIONS_MAX partitions gets POLICY_VIOLATION before
the loop looks at them; a topic without partitions counts as one (Kafka has no such limit).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_cy.api.authorization import (
    CLUSTER_DENIED,
    TOPIC_DENIED,
    TRANSACTIONAL_ID_DENIED,
    may_cluster,
    may_transactional_id,
)
from kafka_cy.api.offset_commit_cold import ANSWERED_AT_ONCE_MAX, answer
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_rights import with_denied_topics
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.topic_names import INTERNAL_TOPICS
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.limits import PARTITIONS_MAX
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.add_partitions_to_txn.v3.request import AddPartitionsToTxnRequest as AddPartitionsToTxnRequestV3
    from kio.schema.add_partitions_to_txn.v5.request import AddPartitionsToTxnRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTransactions

VERSION_OF_BROKERS = 4
Errors = Mapping[Partition, ErrorCode]


class Wanted(NamedTuple):
    """One transaction of the request."""

    transactional_id: str
    producer: Producer
    verify_only: bool
    topics: Any  # of the request: name, partitions


@handler(api_key=24)
def handle(request: Request[AddPartitionsToTxnRequest], context: ChangesTransactions) -> None:
    """Add or verify the partitions of each transaction, and respond when all are stored."""
    version = request.api_version
    if version >= VERSION_OF_BROKERS and not may_cluster(request, Operation.CLUSTER_ACTION):
        request.respond({"throttle_time": 0, "error_code": int(CLUSTER_DENIED), "results_by_transaction": []})
        return
    wanted = _wanted(request)
    found: dict[int, Errors] = {}

    def add(place: int) -> None:
        _add(request, context, wanted[place], partial(added, place))

    def added(place: int, errors: Errors) -> None:
        found[place] = errors
        if len(found) == len(wanted):
            request.respond(_response(wanted, found, version))

    def failed(place: int) -> None:
        added(place, dict.fromkeys(_partitions(wanted[place]), ErrorCode.UNKNOWN_SERVER_ERROR))

    refused = _refused(request, wanted)
    if refused:
        refusal = partial(_response, wanted, refused, version)
        answer(request, refusal, is_long=_has_more_than(ANSWERED_AT_ONCE_MAX, wanted))
    elif not wanted:
        request.respond(_response(wanted, found, version))
    else:
        context.transactions.runtime.for_each(range(len(wanted)), add, failed)


def _refused(request: Request[AddPartitionsToTxnRequest], wanted: list[Wanted]) -> ErrorCode:
    """The error of all partitions, or NONE. The right is asked for first; a broker has checked its client."""
    if request.api_version < VERSION_OF_BROKERS:
        transactional_id = wanted[0].transactional_id
        if not may_transactional_id(request, Operation.WRITE, transactional_id):
            return TRANSACTIONAL_ID_DENIED
    return ErrorCode.POLICY_VIOLATION if _has_more_than(PARTITIONS_MAX, wanted) else ErrorCode.NONE


def _has_more_than(few: int, wanted: list[Wanted]) -> bool:
    """Whether there are more than `few` partitions; a topic without partitions counts as one. It counts no further."""
    for each in wanted:
        if len(each.topics) > few:
            return True
        for topic in each.topics:
            few -= len(topic.partitions) or 1
            if few < 0:
                return True
    return False


def _wanted(request: Request[AddPartitionsToTxnRequest]) -> list[Wanted]:
    if request.api_version < VERSION_OF_BROKERS:
        old: AddPartitionsToTxnRequestV3 = request.body  # type: ignore[assignment]
        producer = Producer(old.v3_and_below_producer_id, old.v3_and_below_producer_epoch)
        return [Wanted(old.v3_and_below_transactional_id, producer, False, old.v3_and_below_topics)]
    return [
        Wanted(each.transactional_id, Producer(each.producer_id, each.producer_epoch), each.verify_only, each.topics)
        for each in request.body.transactions
    ]


def _add(
    request: Request[Any], context: ChangesTransactions, wanted: Wanted, respond: Callable[[Errors], object]
) -> None:
    version, partitions = request.api_version, _partitions(wanted)
    is_client = version < VERSION_OF_BROKERS
    # As in Kafka, also without an authorizer, no client writes to internal topics in a transaction.
    named = dict.fromkeys([topic.name for topic in wanted.topics]) if is_client else {}
    internal = named.keys() & INTERNAL_TOPICS
    asked = [name for name in named if name not in internal]

    def add(denied: set[str]) -> None:
        _add_allowed(request, context, wanted, partitions, denied | internal, respond)

    with_denied_topics(request, context, Operation.WRITE, asked, add)


def _add_allowed(
    request: Request[Any], context: ChangesTransactions, wanted: Wanted, partitions: list[Partition], denied: set[str],
    respond: Callable[[Errors], object],
) -> None:  # fmt: skip
    version = request.api_version
    failed = _unknown(context, wanted)
    if denied:
        failed |= {each: TOPIC_DENIED for each in partitions if each[0] in denied}
    if failed:
        respond({each: failed.get(each, ErrorCode.OPERATION_NOT_ATTEMPTED) for each in partitions})
        return

    def done(error: ErrorCode) -> None:
        if error and version < 2 and error is ErrorCode.PRODUCER_FENCED:
            error = ErrorCode.INVALID_PRODUCER_EPOCH
        respond(dict.fromkeys(partitions, error))

    if wanted.verify_only:
        context.transactions.verify_partitions(wanted.transactional_id, wanted.producer, partitions, respond)
    else:
        client_version = 2 if version >= VERSION_OF_BROKERS else 0
        context.transactions.add_partitions(wanted.transactional_id, wanted.producer, partitions, client_version, done)


def _partitions(wanted: Wanted) -> list[Partition]:
    return [(topic.name, index) for topic in wanted.topics for index in topic.partitions]


def _unknown(context: ChangesTransactions, wanted: Wanted) -> dict[Partition, ErrorCode]:
    found = {}
    for each in wanted.topics:
        topic = context.cluster.topics.get(each.name)
        count = len(topic.partitions) if topic is not None else 0
        for index in each.partitions:
            if not 0 <= index < count:
                found[each.name, index] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return found


def _response(wanted: list[Wanted], found: Mapping[int, Errors] | ErrorCode, version: int) -> dict[str, Any]:
    """`found`: the errors of each transaction, by its place, or the error of all partitions."""
    results = [_topics(each, found if isinstance(found, ErrorCode) else found[place]) for place, each in enumerate(wanted)]
    if version < VERSION_OF_BROKERS:
        return {"throttle_time": 0, "results_by_topic_v3_and_below": results[0]}
    by_transaction = [
        {"transactional_id": each.transactional_id, "topic_results": topics}
        for each, topics in zip(wanted, results, strict=True)
    ]
    return {"throttle_time": 0, "error_code": 0, "results_by_transaction": by_transaction}


def _topics(wanted: Wanted, errors: Errors | ErrorCode) -> list[dict[str, Any]]:
    results = []
    for topic in wanted.topics:
        name = topic.name
        codes = [errors if isinstance(errors, ErrorCode) else errors[name, index] for index in topic.partitions]
        by_partition = [
            {"partition_index": index, "partition_error_code": code} for index, code in zip(topic.partitions, codes, strict=True)
        ]
        results.append({"name": name, "results_by_partition": by_partition})
    return results

"""InitProducerId (API 22): the id and epoch of an idempotent or transactional producer.

Without a transactional id every call gets a new producer id with epoch 0. With one, the coordinator of transactions
answers. v3 (KIP-360): the id and epoch of before. v4 (KIP-588): PRODUCER_FENCED; older versions get INVALID_PRODUCER_EPOCH.
v5 (KIP-890): as v4. v6 (KIP-939), which is not stable:
with `enable_2_pc` a transaction has no timeout, if `transaction.two.phase.commit.enable` is set (else
TRANSACTIONAL_ID_AUTHORIZATION_FAILED); Kafka 4.3 does not implement `keep_prepared_txn` either (UNSUPPORTED_VERSION).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.authorization import (
    CLUSTER_DENIED,
    TRANSACTIONAL_ID_DENIED,
    may_any_topic,
    may_cluster,
    may_transactional_id,
)
from kafka_cy.api.change_pieces import add_task
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.store import StoreError
from kafka_cy.coordinator.transactions.init_producer_id import NO_PRODUCER, NO_TIMEOUT_MS, InitRequest, Producer
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kio.schema.init_producer_id.v5.request import InitProducerIdRequest
    from kio.schema.init_producer_id.v6.request import InitProducerIdRequest as InitProducerIdRequestV6

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import TakesProducerIds


@handler(api_key=22)
def handle(request: Request[InitProducerIdRequest], context: TakesProducerIds) -> None:
    """A producer id and epoch, when they are stored."""
    body, version = request.body, request.api_version
    before = Producer(body.producer_id, body.producer_epoch) if version >= 3 else NO_PRODUCER

    def respond(error: ErrorCode, producer: Producer = NO_PRODUCER) -> None:
        if error is ErrorCode.PRODUCER_FENCED and version < 4:
            error = ErrorCode.INVALID_PRODUCER_EPOCH
        request.respond(_response(error, producer, version))

    def taken(producer_id: int | None, error: StoreError | None) -> None:
        if producer_id is None:
            respond(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        else:
            respond(ErrorCode.NONE, Producer(producer_id, 0))

    def without_id(allowed: bool) -> None:
        if not allowed:
            respond(CLUSTER_DENIED)
        elif before.count(-1) == 1:
            respond(ErrorCode.INVALID_REQUEST)
        else:
            context.producer_ids.take(taken)

    if body.transactional_id is None:
        # The right that is cheap to find first; if there is none, its denial is the line.
        if may_cluster(request, Operation.IDEMPOTENT_WRITE, log_denied=False):
            without_id(True)
        else:
            add_task(request, context.slices, _look_for_topic(request, without_id), lambda: None)
    elif not _may_use_id(request, body.transactional_id):
        respond(TRANSACTIONAL_ID_DENIED)
    elif before.count(-1) == 1:
        respond(ErrorCode.INVALID_REQUEST)
    elif error := _refusal(request, context):
        respond(error)
    else:
        expected = before if before != NO_PRODUCER else None
        is_two_phase = _is_two_phase(request)
        timeout_ms = NO_TIMEOUT_MS if is_two_phase else milliseconds(body.transaction_timeout)
        wanted = InitRequest(body.transactional_id, timeout_ms, expected, is_two_phase)
        context.transactions.init_producer_id(wanted, respond)


def _look_for_topic(request: Request[InitProducerIdRequest], done: Callable[[bool], object]) -> Iterator[None]:
    """Whether the sender may write to any topic, so that it may have a producer id. It may have very many ACLs."""
    allowed = yield from may_any_topic(request, Operation.WRITE)
    done(allowed or may_cluster(request, Operation.IDEMPOTENT_WRITE))


def _may_use_id(request: Request[InitProducerIdRequest], transactional_id: str) -> bool:
    needed = [Operation.WRITE, Operation.TWO_PHASE_COMMIT] if _is_two_phase(request) else [Operation.WRITE]
    return all(may_transactional_id(request, each, transactional_id) for each in needed)


def _is_two_phase(request: Request[InitProducerIdRequest]) -> bool:
    return request.api_version >= 6 and bool(cast("InitProducerIdRequestV6", request.body).enable2_pc)


def _refusal(request: Request[InitProducerIdRequest], context: TakesProducerIds) -> ErrorCode:
    """What a two-phase commit asks for and does not get."""
    if request.api_version < 6 or not request.body.transactional_id:
        return ErrorCode.NONE
    if _is_two_phase(request) and not context.config["transaction.two.phase.commit.enable"]:
        return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    keeps = cast("InitProducerIdRequestV6", request.body).keep_prepared_txn
    return ErrorCode.UNSUPPORTED_VERSION if keeps else ErrorCode.NONE


def _response(error: ErrorCode, producer: Producer, version: int) -> dict[str, Any]:
    response = {
        "throttle_time": 0,
        "error_code": int(error),
        "producer_id": producer.producer_id,
        "producer_epoch": producer.epoch,
    }
    # No prepared transaction is kept: there is nothing to tell about it.
    return response | {"ongoing_txn_producer_id": -1, "ongoing_txn_producer_epoch": -1} if version >= 6 else response

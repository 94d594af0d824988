"""The settings that one request changes in a cluster with ZooKeeper: what its handler uses as ConfigChanges.

The request has a place among those of clients that wait (server/client_requests) while it has changes in work. It waits without its
turn, and without its body. Its client waits for request.timeout.ms, because Kafka's requests for these changes name no time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.change_pieces import NAMES_AT_ONCE
from kafka_cy.api.pending_topics import DECODED_BYTES_MAX
from kafka_cy.api.waiting_requests import log_refusal
from kafka_cy.cluster import config_changes
from kafka_cy.cluster.config_changes import LASTING, ChangeRefused, Edit, Outcome, TooManyEntities
from kafka_cy.cluster.config_writer import WaitingChanges
from kafka_cy.cluster.store import StoreError
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesConfigsOfCluster
    from kafka_cy.server.client_requests import Place

CHANGE_BYTES: Final = 3072  # that a change and its row of the response keep in memory, without what the request says of it
TOO_MANY: Final = "Too many requests wait for ZooKeeper."


class RequestWrites:
    """See ConfigChanges. Each change is stored by itself, and told to all brokers even if nothing differs, as Kafka's.

    If a change cannot be stored, the connection is closed: the client looks what became of it. After the time-out, changes without
    an outcome are refused; what was not sent to ZooKeeper is not made. Owner: the controller's thread. Limit: ClientRequests.
    """

    def __init__(self, request: Request[Any], context: ChangesConfigsOfCluster) -> None:
        self._request, self._context = request, context
        self._changes = WaitingChanges(context.config_changes)
        self._place: Place | None = None  # from the first change on
        self._is_refused = False  # there was no place, or no room in it: nothing more is changed
        self._count = 0  # changes so far: each has a number
        self._waiting: dict[int, Outcome] = {}  # of the changes without an outcome
        self._left = 0  # changes that are in work
        self._fault: Exception | None = None  # of one that could not be stored
        self._answered: Callable[[], object] | None = None
        self._ended: Callable[[], object] | None = None
        self._is_complete = False  # no further change follows

    @contextmanager
    def batch(self) -> Iterator[None]:
        """See ConfigChanges."""
        yield

    def change(self, entity_type: str, entity_name: str, edit: Edit, outcome: Outcome) -> None:
        """Have the settings of an entity changed; `edit` gets those that ZooKeeper holds."""
        refused = self._refusal()
        if refused is not None:
            outcome(refused)
            return
        self._count += 1
        self._left += 1
        self._waiting[self._count] = outcome
        ended = partial(self._change_ended, self._count, entity_type, entity_name)
        self._changes.add(entity_type, entity_name, partial(self._edited, entity_type, edit), ended)

    def when_answered(self, then: Callable[[], object]) -> None:
        """Call `then` when each change has its outcome. Without it, the connection is closed."""
        self._answered = self._request.guarded(then)
        if self._waiting:
            self._request.end_turn()
        self._look()

    def when_ended(self, then: Callable[[], object]) -> None:
        """Call `then` when no change is in work any more; no further one follows."""
        self._ended, self._is_complete = self._request.guarded(then), True
        self._look()

    def _refusal(self) -> ChangeRefused | None:
        """Why a further change is not begun."""
        request = self._request
        if self._place is None and not self._is_refused:
            requests = self._context.member.requests
            self._place = requests.begin(DECODED_BYTES_MAX * request.body_size, 0.0, request.guarded(self._over))
        if self._place is not None and self._place.is_over:
            return ChangeRefused(ErrorCode.REQUEST_TIMED_OUT, None)
        if not self._is_refused and (self._place is None or not self._place.keep(CHANGE_BYTES)):
            self._is_refused = True
            log_refusal(request, self._context)
        return ChangeRefused(ErrorCode.REQUEST_TIMED_OUT, TOO_MANY) if self._is_refused else None

    def _edited(self, entity_type: str, edit: Edit, before: dict[str, str]) -> dict[str, str] | None:
        if self._place is not None and self._place.is_over:  # the client may have changed it otherwise since
            raise ChangeRefused(ErrorCode.REQUEST_TIMED_OUT, None)
        is_new = not before and entity_type not in LASTING
        values = edit(before)
        if values and is_new and self._context.config_changes.cache.config_count(entity_type) >= config_changes.ENTITIES_MAX:
            raise TooManyEntities(entity_type)
        return values

    def _change_ended(self, number: int, entity_type: str, entity_name: str, fault: Exception | None) -> None:
        self._left -= 1
        outcome = self._waiting.pop(number, None)
        if outcome is not None and (fault is None or isinstance(fault, ChangeRefused)):
            try:
                outcome(fault)
            except Exception as error:  # noqa: BLE001 it ends the request
                self._fault = self._fault or error
        elif outcome is not None:
            self._fault = self._fault or fault
        elif fault is None:
            details = {"resource": f"{entity_type} {entity_name}", **self._request.sender}
            self._context.log.info("a change of settings was stored after its client had the answer REQUEST_TIMED_OUT", **details)
        elif not isinstance(fault, ChangeRefused):
            self._request.guarded(self._fail)(fault)  # the client has its answer; the log tells a fault of ours
        self._look()

    def _over(self) -> None:
        """The time-out."""
        self._left -= self._changes.drop()
        self._context.slices.add(self._refuse_waiting(), self._look)

    def _refuse_waiting(self) -> Iterator[None]:
        while self._waiting:
            for _ in range(min(NAMES_AT_ONCE, len(self._waiting))):
                _, outcome = self._waiting.popitem()
                outcome(ChangeRefused(ErrorCode.REQUEST_TIMED_OUT, None))
            yield

    def _look(self) -> None:
        """What is due after a change, or after the time-out."""
        place = self._place
        if not self._left:
            if self._ended is not None:
                ended, self._ended = self._ended, None
                ended()
            if place is not None and (self._is_complete or place.is_over):
                place.end()
        if not self._waiting and self._answered is not None:
            answered, self._answered = self._answered, None
            if self._fault is None:
                answered()
            else:
                self._request.guarded(self._fail)(self._fault)

    def _fail(self, fault: Exception) -> None:
        if not isinstance(fault, StoreError):
            raise fault
        self._request.close(f"what the request changes could not be stored: {fault!r}")

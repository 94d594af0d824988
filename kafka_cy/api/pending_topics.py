"""The topics of one request that the controller of the cluster is asked to create, extend or delete."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.change_pieces import has_passed
from kafka_cy.api.topic_creation import TopicRefused
from kafka_cy.api.waiting_requests import log_refusal
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopicsOfCluster
    from kafka_cy.cluster.topics import Topic
    from kafka_cy.controller.operator_events import Outcome
    from kafka_cy.server.client_requests import Place

TOPICS_AT_ONCE: Final = 16  # that the controller is asked for before it does what others want
TOPIC_BYTES: Final = 2048  # that a topic keeps in memory until the controller has answered, without its partitions
ROW_BYTES: Final = 1024  # that the result of a topic keeps in memory meanwhile, also of one that was refused
DECODED_BYTES_MAX: Final = 20  # for each byte of a request
TIMED_OUT: Final = TopicRefused(ErrorCode.REQUEST_TIMED_OUT, None)
TOO_MANY: Final = TopicRefused(ErrorCode.REQUEST_TIMED_OUT, "Too many requests wait for the controller.")
IsThere = Callable[["Topic | None"], bool]
Ask = Callable[[Callable[["Outcome"], object]], object]
Refused = Mapping[str, TopicRefused]


def has_no_place(request: Request[Any], context: ChangesTopicsOfCluster) -> bool:
    """Whether so many requests wait for the controller that this one is refused, with TOO_MANY. Then it is in the log."""
    if context.member.requests.is_full:
        log_refusal(request, context)
    return bool(context.member.requests.is_full)


class PendingTopics:
    """Owner: the controller's thread. `add` what shall be asked for, then `finish`.

    The response is given when the controller has answered and the metadata show what it did, or after the time-out. The
    request has its place among those that wait until both the controller has answered and the response is given.
    """

    def __init__(self, context: ChangesTopicsOfCluster, timeout: timedelta) -> None:
        self._context, self._timeout = context, timeout
        self._asks: deque[tuple[str, Ask]] = deque()
        self._size = 0
        self._unanswered = 0
        self._left: dict[str, IsThere] = {}  # topics that the controller has not answered
        self._made: dict[str, IsThere] = {}  # topics that it has changed
        self._refused: dict[str, TopicRefused] = {}
        self._place: Place | None = None
        self._respond: Callable[[Refused], object] = lambda refused: None
        self._stored: Callable[[Refused], object] = lambda refused: None
        self._request: Request[Any] | None = None

    def __contains__(self, name: str) -> bool:
        """Whether the topic was added."""
        return name in self._left

    def add(self, name: str, size: int, ask: Ask, is_there: IsThere) -> None:
        """One topic that is not there yet, for which `size` bytes are kept. `is_there(topic)`: the metadata show the change."""
        self._size += TOPIC_BYTES + size
        self._asks.append((name, ask))
        self._left[name] = is_there

    def finish(
        self,
        request: Request[Any],
        rows: int,
        respond: Callable[[Refused], object],
        stored: Callable[[Refused], object],
    ) -> None:
        """Ask the controller. `stored(refused)`: it has answered everything. `respond(refused)`: also with what is late.

        `rows`: of the response, which are kept until then. The request waits without its turn: others must not wait for the
        leaders of its topics.
        """
        self._request = request
        self._respond, self._stored = request.guarded(respond), request.guarded(stored)
        if not self._asks:
            self._respond({})
            return
        timeout_ms = self._timeout / timedelta(milliseconds=1)
        size = self._size + ROW_BYTES * rows + DECODED_BYTES_MAX * request.body_size
        self._place = self._context.member.requests.begin(size, timeout_ms, request.guarded(self._over))
        if self._place is None:
            log_refusal(request, self._context)
            self._respond(dict.fromkeys(self._left, TOO_MANY))
            return
        request.end_turn()
        self._context.slices.add(self._ask_some())

    def _ask_some(self) -> Iterator[None]:
        """One step, which the next follows when these are answered."""
        self._guarded(self._ask_piece)()
        yield

    def _guarded(self, function: Callable[..., object]) -> Callable[..., None]:
        """`function`; a fault in it ends the request, and its place, for nothing else may end it any more."""
        request, place = self._request, self._place
        assert request is not None and place is not None

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except Exception:
                self._asks.clear()
                place.end()
                raise

        return request.guarded(call)

    def _ask_piece(self) -> None:
        piece = [self._asks.popleft() for _ in range(min(len(self._asks), TOPICS_AT_ONCE))]
        self._unanswered = len(piece)
        for name, ask in piece:
            ask(self._guarded(partial(self._answered, name)))

    def _answered(self, name: str, outcome: Outcome) -> None:
        is_there = self._left.pop(name)
        if outcome.error is ErrorCode.NONE:
            self._made[name] = is_there
        else:
            self._refused[name] = TopicRefused(outcome.error, outcome.message)
        self._unanswered -= 1
        if not self._unanswered:
            if self._asks:
                self._context.slices.add(self._ask_some())
            else:
                self._all_answered()

    def _all_answered(self) -> None:
        place = self._place
        assert place is not None
        place.answered()
        self._stored(self._refused)
        if place.is_over:
            place.end()
        elif has_passed(self._timeout):
            self._shown(list(self._made))  # nobody waits: the work goes on, whether it is there already or not
        else:
            self._context.member.waits.wait(self._made, place.left_ms, self._shown)

    def _shown(self, late: Sequence[str]) -> None:
        """The metadata show everything but these."""
        if self._place is not None:
            self._place.end()
        self._waited(late)

    def _over(self) -> None:
        """The time-out. The controller goes on."""
        self._context.member.waits.wait(self._made, 0, self._waited)

    def _waited(self, late: Sequence[str]) -> None:
        self._respond(self._refused | dict.fromkeys([*late, *self._left], TIMED_OUT))

"""Groups of one kind: how their heartbeats, descriptions and deadlines are handled, whatever the kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from kafka_cy.base.slices import WAITS, at_once
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.context import SESSION, ModernContext
from kafka_cy.coordinator.modern.deadlines import Deadlines, Key
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.protocol.errors import ErrorCode

LONG_HEARTBEAT: Final = 200  # names, topics, partitions or tasks: more take more than about a millisecond
REMOVED_AT_ONCE: Final = 200  # members whose time is over that one batch removes
REMOVED_FEW: Final = 10  # more of them take more than about a millisecond
RETRY_MS: Final = 1000  # after a removal that has failed
Nothing = CoordinatorResult[None]
RemoveSteps = Generator[object, None, CoordinatorResult[None]]
BeatSteps = Generator[object, None, CoordinatorResult[dict[str, Any]]]
Respond = Callable[[dict[str, Any]], object]
Steps = Callable[[Mapping[str, Group], Any], BeatSteps]  # of the heartbeat
Refuse = Callable[[ErrorCode], dict[str, Any]]  # the response to a heartbeat that was not looked at


class Beat(Protocol):
    """A heartbeat of a member."""

    @property
    def group_id(self) -> str: ...
    @property
    def member_id(self) -> str: ...
    @property
    def member_epoch(self) -> int:
        """0: it joins, and creates the group if there is none. Negative: it leaves."""


class Assignment(Protocol):
    """A target assignment that is computed in slices."""

    epoch: int
    is_complete: bool

    def late_records(self, group: Any) -> Generator[None, None, list[Any]]:
        """The records that store it, for the group as it is now. A task for slices."""


class ModernGroups(ABC):
    """Owner: the coordinator's thread. Idle cost: one timer for each group with members."""

    KIND: ClassVar[type[Group]]
    NAME: ClassVar[str]  # in texts: "consumer group"
    REASONS: ClassVar[Mapping[str, str]]  # what was awaited -> why the member is removed

    def __init__(
        self, runtime: CoordinatorRuntime[Any], context: ModernContext, *, is_offered: Callable[[], bool],
        is_full: Callable[[str], bool],
    ) -> None:  # fmt: skip
        """`is_offered`: whether clients may use the protocol. `is_full`: whether the group may not be created."""
        self.runtime = runtime
        self.is_offered = is_offered
        self.is_full = is_full
        self._context = context
        context.on_due = self._due

    # -- requests --

    def _beat(self, request: Beat, steps: Steps, refuse: Refuse, respond: Respond) -> None:
        """Let the task `steps` look at the groups; `respond` gets its response when its records are stored.

        A long one is done in slices, and other operations on the group wait.
        """

        def operation(state: Any) -> BeatSteps:
            if request.member_epoch == 0 and request.group_id not in state.groups and self.is_full(request.group_id):
                return CoordinatorResult(response=refuse(ErrorCode.POLICY_VIOLATION))
            return (yield from steps(state.groups, request))

        def done(error: ErrorCode, response: dict[str, Any] | None) -> None:
            respond(refuse(error) if response is None else response)

        self.runtime.write_either(request.group_id, operation, done, partial(self._is_long, request))

    def _is_long(self, request: Beat) -> bool:
        if request.member_epoch < 0:
            return self._is_much(request.group_id, [(SESSION, request.member_id)])
        return self._size(request) > LONG_HEARTBEAT

    @abstractmethod
    def _size(self, request: Any) -> int:
        """How much the heartbeat of a member that does not leave has to look at: see LONG_HEARTBEAT."""

    def descriptions(self, group_ids: Sequence[str], found: list[dict[str, Any]]) -> Iterator[object]:
        """Put what the request to describe groups shows of each group into `found`. A task for slices.

        A group is described as it is after the operations on it that came before: no part of a change shows.
        """
        for group_id in group_ids:
            description: dict[str, Any] = {}
            found.append(description)
            begun: list[Iterator[object]] = []
            self.runtime.look_in_turn(group_id, partial(self._begin_description, group_id, description, begun))
            while not begun:
                yield WAITS
            yield from begun[0]
            yield None

    def _begin_description(self, group_id: str, description: dict[str, Any], begun: list[Iterator[object]]) -> None:
        """The turn of a description has come: it takes what it shows, and `begun` gets the other steps."""
        steps: Iterator[object] = iter(())
        try:
            error, group = self._to_describe(group_id)
            description |= {"error_code": int(error), "error_message": None} | self.unknown(group_id)
            if isinstance(group, self.KIND):
                steps = self._describe(group, description)
                next(steps, None)
            elif not error:
                problem = f"Group {group_id} not found." if group is None else f"Group {group_id} is not a {self.NAME}."
                description |= {"error_code": int(ErrorCode.GROUP_ID_NOT_FOUND), "error_message": problem}
        except Exception as fault:  # noqa: BLE001 the request has its response
            self.runtime.on_fault(fault)
            description |= {"error_code": int(ErrorCode.UNKNOWN_SERVER_ERROR), "error_message": None} | self.unknown(group_id)
        begun.append(steps)

    def _to_describe(self, group_id: str) -> tuple[ErrorCode, Group | None]:
        if not self.is_offered():
            return ErrorCode.UNSUPPORTED_VERSION, None
        if not group_id:
            return ErrorCode.INVALID_GROUP_ID, None
        error, shard = self.runtime.shard_of(group_id)
        return error, shard.state.groups.get(group_id) if shard is not None else None

    @abstractmethod
    def unknown(self, group_id: str) -> dict[str, Any]:
        """The fields of a group that cannot be described."""

    @abstractmethod
    def _describe(self, group: Any, description: dict[str, Any]) -> Iterator[None]:
        """Put the fields of the group into its description. The first step takes them, the others only show them."""

    # -- soft state --

    def end(self, group: Any, error: ErrorCode) -> None:
        """The group is gone, or begins anew."""
        group.steady = None
        self._context.end(group)

    # -- deadlines --

    def _due(self, group_id: str, due: list[Key]) -> None:
        pieces = [due[first : first + REMOVED_AT_ONCE] for first in range(0, len(due), REMOVED_AT_ONCE)]
        self.runtime.in_slices(pieces, partial(self._remove_due, group_id))

    def _remove_due(self, group_id: str, due: list[Key]) -> None:
        def operation(state: Any) -> Generator[object, None, CoordinatorResult[None]]:
            group = state.groups.get(group_id)
            yield None
            if not isinstance(group, self.KIND):
                return Nothing()
            deadlines = self._context.deadlines(group)
            members: dict[str, Any] = getattr(group, "members", {})
            keys = [key for key in deadlines.take(due) if key[1] in members]  # the others have answered meanwhile
            self._renew(deadlines, group, keys)
            late = {key[1]: self.REASONS[key[0]] for key in keys if key not in deadlines}
            reason = ", ".join(dict.fromkeys(late.values()))
            try:
                steps = self._remove(state.groups, group, [members[member_id] for member_id in late], reason)
                result = yield from steps
            except Exception:
                self._try_again(group, keys, ErrorCode.UNKNOWN_SERVER_ERROR)  # else nothing would ever remove them
                raise
            result.failed = partial(self._removal_failed, group, keys, result.failed)
            return result

        if len(due) > REMOVED_FEW or self._is_much(group_id, due):
            self.runtime.write_long(group_id, operation)
        else:
            self.runtime.write_own(group_id, lambda state: at_once(operation(state)))

    def _is_much(self, group_id: str, due: list[Key]) -> bool:
        """Whether it takes long to remove these few members."""
        return False

    def _renew(self, deadlines: Deadlines, group: Any, due: list[Key]) -> None:
        """Sessions that a reactor has prolonged meanwhile go on."""
        for key in due:
            left_s = self._context.session_due_s(group, key) - self.runtime.loop.now()
            if left_s > 0 and key not in deadlines:
                deadlines.set(key, int(left_s * 1000) + 1)

    @abstractmethod
    def _remove(
        self, groups: Mapping[str, Group], group: Any, members: list[Any], reason: str
    ) -> RemoveSteps:
        """Remove members whose time is over. A task for slices."""

    def _find(self, group_id: str) -> Any:
        """The group, if there is one of this kind."""
        shard = self.runtime.replayed_shard(group_id)
        group = shard.state.groups.get(group_id) if shard is not None else None
        return group if isinstance(group, self.KIND) else None

    def _due_members(self, group_id: str, due: list[Key]) -> list[Any]:
        """The members whose time is over."""
        members: dict[str, Any] = getattr(self._find(group_id), "members", {})
        return [members[member_id] for _, member_id in due if member_id in members]

    def _removal_failed(
        self, group: Any, due: list[Key], then: Callable[[ErrorCode], object] | None, error: ErrorCode
    ) -> None:
        """`then` comes last: it ends a group that is in no table any more."""
        self._try_again(group, due, error)
        if then is not None:
            then(error)

    def _try_again(self, group: Any, due: list[Key], error: ErrorCode) -> None:
        deadlines = self._context.deadlines(group)
        for key in due:
            if key not in deadlines:
                deadlines.set(key, RETRY_MS)

    # -- assignments that take longer --

    def _assign_later(self, group: Any, target: Any, applied: Callable[[], object]) -> None:
        """Compute the target assignment in slices, and store it. `applied` is called then."""
        if not group.assigning:
            group.assigning = True
            self.runtime.slices.add(target.steps(), partial(self._assigned, group, target, applied))

    def _assigned(self, group: Any, target: Assignment, applied: Callable[[], object]) -> None:
        if not target.is_complete:
            group.assigning = False
            return  # a fault, which was logged: the next heartbeat begins anew

        def operation(state: Any) -> Generator[object, None, CoordinatorResult[None]]:
            group.assigning = False  # heartbeats wait until it is stored
            if state.groups.get(group.group_id) is not group or group.assignment_epoch >= target.epoch:
                return Nothing()
            records = yield from target.late_records(group)
            return Nothing(records, apply=partial(self._stored_late, group, applied))

        self.runtime.write_long(group.group_id, operation)

    def _stored_late(self, group: Any, applied: Callable[[], object]) -> None:
        self._context.count(group)
        applied()

"""DeleteGroups: groups go with their offsets, one group after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial

from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.group_counts import GroupCounts
from kafka_cy.coordinator.offsets.delete import DELETED_AT_ONCE, delete_group, has_few_offsets
from kafka_cy.coordinator.offsets.pieces import piece_size
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.share_groups import ShareGroups
from kafka_cy.coordinator.state_machine import GroupStateMachine, SoftState
from kafka_cy.protocol.errors import ErrorCode


class GroupDeletion:
    """Owner: the coordinator's thread."""

    def __init__(
        self, runtime: CoordinatorRuntime[GroupStateMachine], counts: GroupCounts, share: ShareGroups,
        soft_states: Mapping[type[Group], SoftState],
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._counts = counts
        self._share = share
        self._soft_states = soft_states

    def delete_group(self, group_id: str, respond: Callable[[ErrorCode], object]) -> None:
        """Delete the group. One with many offsets goes in slices: whatever comes for it meanwhile waits for the end.

        NON_EMPTY_GROUP: it has members. GROUP_ID_NOT_FOUND: there is no such group.
        """

        def operation(state: GroupStateMachine) -> Generator[object, None, CoordinatorResult[ErrorCode]]:
            group = state.groups.get(group_id)
            if isinstance(group, ShareGroup):
                return CoordinatorResult(apply=partial(self._share.delete_group, group_id, respond))
            result = yield from delete_group(group, piece_size(group_id, self._runtime.batch_bytes_max()))
            if group is not None and result.records:
                result.apply = partial(self._soft_states[type(group)].end, group, ErrorCode.UNKNOWN_MEMBER_ID)
            return result

        self._runtime.write_either(
            group_id,
            lambda state: self._counts.deleted_in_steps(operation(state)),
            lambda error, response: respond(error if response is None else response),
            partial(self._is_long, group_id),
        )

    def _is_long(self, group_id: str) -> bool:
        group = self._find(group_id)
        if group is None or isinstance(group, ShareGroup):
            return False
        return not has_few_offsets(group, min(DELETED_AT_ONCE, piece_size(group_id, self._runtime.batch_bytes_max())))

    def _find(self, group_id: str) -> Group | None:
        _, shard = self._runtime.shard_of(group_id)
        return shard.state.groups.get(group_id) if shard is not None else None

    def delete_groups(self, group_ids: Sequence[str], respond: Callable[[list[ErrorCode]], object]) -> None:
        """delete_group() for several groups, in slices if it takes long; `respond` gets the errors in the same order."""
        errors: dict[int, ErrorCode] = {}

        def deleted(place: int, error: ErrorCode) -> None:
            if place in errors:
                return  # a fault in `respond` below
            errors[place] = error
            if len(errors) == len(group_ids):
                respond([errors[each] for each in range(len(group_ids))])

        def delete(place: int) -> None:
            try:
                self.delete_group(group_ids[place], partial(deleted, place))
            except Exception:
                deleted(place, ErrorCode.UNKNOWN_SERVER_ERROR)
                raise

        if not group_ids:
            respond([])
        elif len(group_ids) > AT_ONCE_MAX or self._offsets_count(group_ids) > DELETED_AT_ONCE:
            self._runtime.in_slices(range(len(group_ids)), delete)
        else:
            for place in range(len(group_ids)):
                self.delete_group(group_ids[place], partial(deleted, place))

    def _offsets_count(self, group_ids: Sequence[str]) -> int:
        found = map(self._find, group_ids)
        return sum(group.offsets.count for group in found if group is not None)

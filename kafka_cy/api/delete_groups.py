"""DeleteGroups (API 42): delete Empty groups with their offsets.

NON_EMPTY_GROUP while there are members, GROUP_ID_NOT_FOUND for unknown groups. v2: flexible. The response leaves when
all deletions are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.change_lines import ID_CHARS_MAX, log_each
from kafka_cy.api.change_pieces import add_task
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_groups.v2.request import DeleteGroupsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DeletesGroups


@handler(api_key=42)
def handle(request: Request[DeleteGroupsRequest], context: DeletesGroups) -> None:
    """One error per group."""
    asked: list[str] = list(dict.fromkeys(request.body.groups_names))
    names: list[str] = asked if request.authorizer is None else []  # that the sender may delete
    refused: list[str] = []

    def check() -> Iterator[None]:
        for name in asked:
            (names if may_group(request, Operation.DELETE, name) else refused).append(name)
            yield

    def response(errors: list[ErrorCode]) -> dict[str, Any]:
        deleted = [{"group": name[:ID_CHARS_MAX]} for name, error in zip(names, errors, strict=True) if not error]
        log_each(context.log, "group deleted", deleted, request.sender)
        results = [{"group_id": name, "error_code": int(error)} for name, error in zip(names, errors, strict=True)]
        results += [{"group_id": name, "error_code": int(GROUP_DENIED)} for name in refused]
        return {"throttle_time": 0, "results": results}

    def delete_many(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        context.groups.deletion.delete_groups(names, lambda errors: ready(lambda: response(errors)))

    if len(asked) > AT_ONCE_MAX and request.authorizer is None:
        request.respond_long(delete_many)
    elif len(asked) > AT_ONCE_MAX:
        request.respond_long(lambda ready: add_task(request, context.slices, check(), partial(delete_many, ready)))
    else:
        for _ in check() if request.authorizer is not None else ():
            pass
        context.groups.deletion.delete_groups(names, lambda errors: request.respond(response(errors)))

"""ListGroups (API 16): the groups that this broker coordinates.

v4 (KIP-518): filter by state, state in the response. v5 (KIP-848): filter by type, type in the response:
classic, consumer or share. Filters ignore case. COORDINATOR_LOAD_IN_PROGRESS while a partition is being loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import may_cluster, may_group
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation

if TYPE_CHECKING:
    from kio.schema.list_groups.v5.request import ListGroupsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups


@handler(api_key=16)
def handle(request: Request[ListGroupsRequest], context: UsesGroups) -> None:
    """All groups that pass the filters."""
    body, version = request.body, request.api_version
    states = list(body.states_filter) if version >= 4 else []
    types = list(body.types_filter) if version >= 5 else []

    def listing() -> dict[str, Any]:
        error, groups = context.groups.list_groups(states, types)
        if not may_cluster(request, Operation.DESCRIBE, log_denied=False):
            groups = [each for each in groups if may_group(request, Operation.DESCRIBE, each["group_id"], log_denied=False)]
        return {"throttle_time": 0, "error_code": int(error), "groups": groups if not error else []}

    request.respond_long(lambda ready: ready(listing))

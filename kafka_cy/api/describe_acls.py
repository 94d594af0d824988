"""DescribeAcls (API 29, KIP-140): the ACLs that match a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.acl_requests import DENIED, closed_for_unknown, described, filter_of, may
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import AclFilter, Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_acls.v3.request import DescribeAclsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsAcls
    from kafka_cy.authorizer.authorizer import Authorizer


@handler(api_key=29)
def handle(request: Request[DescribeAclsRequest], context: ReadsAcls) -> dict[str, Any] | None:
    """SECURITY_DISABLED without an authorizer. A filter that may match many is answered by another thread."""
    asked = request.body
    if closed_for_unknown(
        request, asked.resource_type_filter, asked.pattern_type_filter, asked.operation, asked.permission_type
    ):
        return None
    if context.acls is None:
        message = "No Authorizer is configured on the broker"
        return {"error_code": ErrorCode.SECURITY_DISABLED, "error_message": message, "resources": []}
    authorizer = context.acls.authorizer
    if not may(request, authorizer, Operation.DESCRIBE, "DescribeAcls"):
        return DENIED | {"resources": []}
    wanted = filter_of(asked)
    if wanted.resources is not None:
        return _response(authorizer, wanted)
    request.respond_long(lambda ready: ready(lambda: _response(authorizer, wanted)))
    return None


def _response(authorizer: Authorizer, wanted: AclFilter) -> dict[str, Any]:
    """Any thread."""
    resources = [
        {
            "resource_type": resource.resource_type,
            "resource_name": resource.name,
            "pattern_type": resource.pattern_type,
            "acls": [described(entry) for entry in entries],
        }
        for resource, entries in authorizer.matching(wanted)
    ]
    return {"error_code": ErrorCode.NONE, "error_message": None, "resources": resources}

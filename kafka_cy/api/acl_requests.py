"""What the ACL requests share. Without an authorizer they answer SECURITY_DISABLED, as Kafka without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.authorizer.acls import CLUSTER_NAME, AclEntry, AclFilter, Resource, ResourceType
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.authorizer.authorizer import Authorizer
    from kafka_cy.server.log import BrokerLog

UNKNOWN: Final = 0  # the code of ResourceType, PatternType, AclOperation and AclPermissionType that no request may contain
SECURITY_DISABLED: Final = {"error_code": ErrorCode.SECURITY_DISABLED, "error_message": "No Authorizer is configured."}
DENIED: Final = {
    "error_code": ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
    "error_message": "Cluster authorization failed.",  # Kafka's text shows internals of the request
}
DONE: Final = {"error_code": ErrorCode.NONE, "error_message": None}
ACL_BYTES: Final = 600  # of an ACL or a filter in a request that waits, without its texts


def closed_for_unknown(request: Request[Any], *codes: int) -> bool:
    """Whether one of the codes is UNKNOWN. The connection is then closed: Kafka cannot read such a request."""
    if UNKNOWN not in codes:
        return False
    request.close("an ACL with an UNKNOWN type, pattern, operation or permission")
    return True


def may(request: Request[Any], authorizer: Authorizer, operation: int, name: str) -> bool:
    """Whether the sender may do that with the cluster; `name`: that of the API."""
    return authorizer.allows(
        request.user, request.client_host, operation, ResourceType.CLUSTER, CLUSTER_NAME, request=name
    )


def filter_of(values: Any) -> AclFilter:
    """The filter of a DescribeAcls request, or one of a DeleteAcls request."""
    return AclFilter(
        values.resource_type_filter,
        values.resource_name_filter,
        values.pattern_type_filter,
        values.principal_filter,
        values.host_filter,
        values.operation,
        values.permission_type,
    )


def failed(code: ErrorCode, message: str) -> dict[str, Any]:
    """An error of one entry."""
    return {"error_code": code, "error_message": message}


def described(entry: AclEntry) -> dict[str, Any]:
    """An entry in a response."""
    return {
        "principal": entry.principal,
        "host": entry.host,
        "operation": entry.operation,
        "permission_type": entry.permission,
    }


def log_acls(
    log: BrokerLog, what: str, acls: Sequence[tuple[Resource, AclEntry]], sender: Mapping[str, Any]
) -> None:
    """Lines of the broker's log about the ACLs that a request changed."""
    from kafka_cy.api.change_lines import LINES_MAX, log_each

    lines = [_line_of(*acl) for acl in acls[:LINES_MAX]]
    log_each(log, what, lines + [{}] * (len(acls) - len(lines)), sender)


def _line_of(resource: Resource, entry: AclEntry) -> dict[str, str]:
    from kafka_cy.api.change_lines import ID_CHARS_MAX
    from kafka_cy.cluster.acl_formats import OPERATION_NAMES, PERMISSION_NAMES, acl_path

    return {
        "resource": acl_path(resource)[:ID_CHARS_MAX],
        "principal": entry.principal[:ID_CHARS_MAX],
        "host": entry.host[:ID_CHARS_MAX],
        "acl": f"{PERMISSION_NAMES[entry.permission]} {OPERATION_NAMES[entry.operation]}",
    }

"""DeleteAcls (API 31, KIP-140): removes the ACLs that match filters. An ACL that matches several is named for each of them.

Deviation: REQUEST_TIMED_OUT, as of CreateAcls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.acl_requests import (
    ACL_BYTES,
    DENIED,
    DONE,
    SECURITY_DISABLED,
    closed_for_unknown,
    described,
    failed,
    filter_of,
    log_acls,
    may,
)
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX
from kafka_cy.api.change_pieces import PIECE_ENTITIES, add_task
from kafka_cy.api.registry import handler
from kafka_cy.api.waiting_requests import LATE, TEXT_SIZE_MAX, WaitingRequest
from kafka_cy.authorizer.acls import AclEntry, AclFilter, Operation, PatternType, Permission, Resource, ResourceType
from kafka_cy.base.slices import in_work
from kafka_cy.cluster.acl_writes import MalformedAcls
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_acls.v3.request import DeleteAclsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesAcls

FILTERS_MAX: Final = 1000  # of one request; each may look at all ACLs
TOO_MANY: Final = f"Cannot remove more than {RECORDS_PER_REQUEST_MAX} acls in a single delete operation."
Found = list[tuple[Resource, list[AclEntry]]]


@handler(api_key=31)
def handle(request: Request[DeleteAclsRequest], context: ChangesAcls) -> dict[str, Any] | None:
    """One result for each filter. SECURITY_DISABLED without an authorizer."""
    filters = request.body.filters
    for each in filters:
        codes = (each.resource_type_filter, each.pattern_type_filter, each.operation, each.permission_type)
        if closed_for_unknown(request, *codes):
            return None
    if context.acls is None:
        return _all(SECURITY_DISABLED, len(filters))
    if not may(request, context.acls.authorizer, Operation.ALTER, "DeleteAcls"):
        return _all(DENIED, len(filters))
    if len(filters) > FILTERS_MAX:
        refused = failed(ErrorCode.POLICY_VIOLATION, f"A request has at most {FILTERS_MAX} filters.")
        return _all(refused, len(filters))
    deletion = _Deletion(request, context, [filter_of(each) for each in filters])
    if len(filters) <= PIECE_ENTITIES and all(each.resources is not None for each in deletion.filters):
        deletion.find_quickly()
        deletion.remove()
    else:
        request.respond_long(deletion.work)
    return None


def _all(result: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {"filter_results": [{**result, "matching_acls": []}] * count}


def _why_invalid(wanted: AclFilter) -> str | None:
    """Why Kafka refuses a filter: it has a code that does not exist."""
    if wanted.resource_type not in frozenset(ResourceType) or wanted.pattern_type not in frozenset(PatternType):
        return "Unknown patternFilter."
    if wanted.operation not in frozenset(Operation) or wanted.permission not in frozenset(Permission):
        return "Unknown entryFilter."
    return None


class _Deletion:
    """What one request removes: the ACLs that match now, if they are still there."""

    def __init__(self, request: Request[DeleteAclsRequest], context: ChangesAcls, filters: list[AclFilter]) -> None:
        assert context.acls is not None
        self.filters = filters
        self._request, self._context, self._acls = request, context, context.acls
        self._problems = [_why_invalid(each) for each in filters]
        self._found: list[Found] = [[] for _ in filters]
        self._count = 0  # of the ACLs in `_found`
        self._doomed: dict[Resource, set[AclEntry]] = {}
        self._removed: dict[Resource, set[AclEntry]] = {}

    def work(self, ready: object) -> None:
        """Look for the ACLs on another thread, then remove them."""
        add_task(self._request, self._context.slices, self._find(), self.remove)

    def _find(self) -> Iterator[object]:
        matching = self._acls.authorizer.matching
        for place, wanted in enumerate(self.filters):
            if self._problems[place] is None and self._count <= RECORDS_PER_REQUEST_MAX:
                self._add(place, (yield from in_work(partial(matching, wanted))))

    def find_quickly(self) -> None:
        """Filters that name their resources."""
        for place, wanted in enumerate(self.filters):
            if self._problems[place] is None:
                self._add(place, self._acls.authorizer.matching(wanted))

    def _add(self, place: int, found: Found) -> None:
        self._count += sum(len(entries) for _, entries in found)
        if self._count <= RECORDS_PER_REQUEST_MAX:  # else it is refused, and need not be kept
            self._found[place] = found

    def remove(self) -> None:
        """Remove what was found, then respond."""
        rows = len(self.filters) + self._count
        if self._count > RECORDS_PER_REQUEST_MAX:  # nothing is removed, because a part could be overlooked
            self._request.respond(_all(failed(ErrorCode.INVALID_REQUEST, TOO_MANY), len(self.filters)))
            return
        size = TEXT_SIZE_MAX * self._request.body_size + ACL_BYTES * rows
        waiting = WaitingRequest(
            self._request, self._context, size=size, rows=rows, late=lambda: _all(LATE, len(self.filters))
        )
        if waiting.is_refused:
            waiting.refuse()
            return
        for found in self._found:
            for resource, entries in found:
                self._doomed.setdefault(resource, set()).update(entries)

        def stored(outcomes: Mapping[Resource, Exception | None], fault: Exception | None) -> None:
            gone = [resource for resource, error in outcomes.items() if error is None]
            removed = [(resource, entry) for resource in gone for entry in self._removed[resource]]
            log_acls(self._context.log, "ACL removed", removed, self._request.sender)
            if fault is not None:
                waiting.close(f"ACLs could not be removed: {fault!r}")
            else:
                waiting.finish(lambda: self._response(outcomes), rows)

        self._acls.change(self._doomed, self._edit, waiting.guarded(stored))

    def _edit(self, resource: Resource, entries: frozenset[AclEntry]) -> Collection[AclEntry]:
        """Called again if the outcome is not known: what has been removed before counts."""
        gone = entries & self._doomed[resource]
        self._removed.setdefault(resource, set()).update(gone)
        return entries - gone

    def _response(self, outcomes: Mapping[Resource, Exception | None]) -> dict[str, Any]:
        """Any thread."""
        results: list[dict[str, Any]] = []
        for found, problem in zip(self._found, self._problems, strict=True):
            if problem is not None:
                results.append({**failed(ErrorCode.INVALID_REQUEST, problem), "matching_acls": []})
                continue
            errors = [error for resource, _ in found if (error := outcomes[resource]) is not None]
            matching = [
                _matching(resource, entry)
                for resource, entries in found
                if outcomes[resource] is None
                for entry in entries
                if entry in self._removed[resource]
            ]
            results.append({**(_error(errors[0]) if errors else DONE), "matching_acls": matching})
        return {"filter_results": results}


def _error(error: Exception) -> dict[str, Any]:
    message = str(error) if isinstance(error, MalformedAcls) else "The ACL could not be removed."
    return failed(ErrorCode.UNKNOWN_SERVER_ERROR, message)


def _matching(resource: Resource, entry: AclEntry) -> dict[str, Any]:
    return {
        **DONE,
        "resource_type": resource.resource_type,
        "resource_name": resource.name,
        "pattern_type": resource.pattern_type,
        **described(entry),
    }

"""CreateAcls (API 30, KIP-140): stores ACLs. They are in force on this broker before the response, elsewhere soon after.

An error concerns one ACL, and the others are stored. Deviations: names that ZooKeeper cannot have in a path are refused, as by
AclAuthorizer; texts, ACLs and the sizes of prefixes have limits (POLICY_VIOLATION). In a cluster, those that ZooKeeper does not
store within request.timeout.ms get REQUEST_TIMED_OUT, and so do all while too many requests wait; Kafka waits for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.acl_requests import (
    ACL_BYTES,
    DENIED,
    DONE,
    SECURITY_DISABLED,
    closed_for_unknown,
    failed,
    log_acls,
    may,
)
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_pieces import PIECE_ENTITIES, add_task
from kafka_cy.api.registry import handler
from kafka_cy.api.waiting_requests import LATE, TEXT_SIZE_MAX, WaitingRequest
from kafka_cy.authorizer.acls import (
    PREFIX_SIZES_MAX,
    AclBinding,
    AclEntry,
    Operation,
    PatternType,
    Resource,
    to_bytes,
    why_invalid,
)
from kafka_cy.cluster.acl_writes import MalformedAcls, TooLarge
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.create_acls.v3.request import CreateAclsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesAcls
    from kafka_cy.authorizer.acl_image import AclImage
    from kafka_cy.authorizer.authorizer import Authorizer

CHECKED_AT_ONCE: Final = 128
# The limits of stored ACLs (acl_image) are higher by one request: two brokers that are asked at once do not exceed them.
ACLS_MAX: Final = 100_000
TEXT_BYTES_MAX: Final = 64 << 20  # of names, principals and hosts


class LimitReached(Exception):
    """The ACLs of a resource are not stored, because there would be too many."""


@handler(api_key=30)
def handle(request: Request[CreateAclsRequest], context: ChangesAcls) -> dict[str, Any] | None:
    """One result for each ACL. SECURITY_DISABLED without an authorizer."""
    creations = request.body.creations
    if context.acls is None:
        for acl in creations:
            codes = (acl.resource_type, acl.resource_pattern_type, acl.operation, acl.permission_type)
            if closed_for_unknown(request, *codes):
                return None
        return {"results": [SECURITY_DISABLED] * len(creations)}
    if not may(request, context.acls.authorizer, Operation.ALTER, "CreateAcls"):
        return {"results": [DENIED] * len(creations)}
    if len(creations) > RECORDS_PER_REQUEST_MAX:
        many = [failed(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)] * len(creations)
        request.respond_long(lambda ready: ready(lambda: {"results": many}))
        return None
    creation = _Creation(request, context)
    if len(creations) > PIECE_ENTITIES:
        request.respond_long(creation.work)
    else:
        for _ in creation.check():
            pass
        creation.store()
    return None


class _Creation:
    """The ACLs of one request. All are checked before the first is stored."""

    def __init__(self, request: Request[CreateAclsRequest], context: ChangesAcls) -> None:
        self._request, self._context = request, context
        self._results: list[AclBinding | dict[str, Any]] = []  # of each ACL: what is to be stored, or the error
        self._wanted: dict[Resource, set[AclEntry]] = {}
        self._added: dict[Resource, set[AclEntry]] = {}
        self._room: _Room | None = None  # from the first one that is stored on
        self._sizes: dict[int, set[int]] = {}  # of prefixes, by resource type

    def work(self, ready: object) -> None:
        """Check between other requests, then store."""
        add_task(self._request, self._context.slices, self.check(), self.store)

    def check(self) -> Iterator[None]:
        """Each step takes less than a millisecond."""
        for place, each in enumerate(self._request.body.creations, 1):
            resource = Resource(each.resource_type, each.resource_pattern_type, each.resource_name)
            entry = AclEntry(each.principal, each.host, each.operation, each.permission_type)
            problem = why_invalid(resource, entry)
            if problem is not None:
                self._results.append(failed(ErrorCode.INVALID_REQUEST, problem))
            else:
                self._results.append(AclBinding(resource, entry))
                self._wanted.setdefault(resource, set()).add(entry)
            if place % CHECKED_AT_ONCE == 0:
                yield

    def store(self) -> None:
        """Store what is valid, then respond."""
        acls, count = self._context.acls, len(self._results)
        assert acls is not None
        size = TEXT_SIZE_MAX * self._request.body_size + ACL_BYTES * count
        waiting = WaitingRequest(
            self._request, self._context, size=size, rows=count, late=lambda: {"results": [LATE] * count}
        )
        if waiting.is_refused:
            waiting.refuse()
            return

        def stored(outcomes: Mapping[Resource, Exception | None], fault: Exception | None) -> None:
            self._log(outcomes)
            if fault is not None:
                waiting.close(f"ACLs could not be stored: {fault!r}")
            else:
                waiting.finish(lambda: {"results": [_result(each, outcomes) for each in self._results]}, count)

        acls.change(self._wanted, lambda *of: self._edit(acls.authorizer, *of), waiting.guarded(stored))

    def _edit(self, authorizer: Authorizer, resource: Resource, entries: frozenset[AclEntry]) -> Collection[AclEntry]:
        """Called again if the outcome is not known: what has been added before counts."""
        added = self._wanted[resource] - entries
        if self._room is None:
            self._room = _Room(authorizer.image)
        self._room.take(resource, added, is_new=not entries)
        if resource.pattern_type == PatternType.PREFIXED and not entries:
            self._count_size(authorizer, resource)
        self._added.setdefault(resource, set()).update(added)
        return entries | added

    def _count_size(self, authorizer: Authorizer, resource: Resource) -> None:
        kind, size = resource.resource_type, len(to_bytes(resource.name))
        sizes = self._sizes.setdefault(kind, set(authorizer.image.prefix_sizes(kind)))
        if size not in sizes and len(sizes) >= PREFIX_SIZES_MAX:
            raise LimitReached(f"prefixes of one resource type have at most {PREFIX_SIZES_MAX} different sizes")
        sizes.add(size)

    def _log(self, outcomes: Mapping[Resource, Exception | None]) -> None:
        stored = [resource for resource, outcome in outcomes.items() if outcome is None]
        added = [(resource, entry) for resource in stored for entry in self._added.get(resource, ())]
        log_acls(self._context.log, "ACL created", added, self._request.sender)


class _Room:
    """What a request may add to the ACLs that were there before it."""

    def __init__(self, image: AclImage) -> None:
        self._acls, self._text_bytes = image.acls, image.text_bytes  # with what was taken
        self._taken: dict[Resource, tuple[int, int]] = {}

    def take(self, resource: Resource, added: Collection[AclEntry], *, is_new: bool) -> None:
        """ACLs are added to a resource; if that was said before, this counts instead. Raises LimitReached."""
        acls, text_bytes = self._taken.pop(resource, (0, 0))
        self._acls -= acls
        self._text_bytes -= text_bytes
        if not added:
            return
        text_bytes = sum(len(to_bytes(each.principal)) + len(to_bytes(each.host)) for each in added)
        text_bytes += len(to_bytes(resource.name)) if is_new else 0
        if self._acls + len(added) > ACLS_MAX:
            raise LimitReached(f"there are at most {ACLS_MAX} ACLs")
        if self._text_bytes + text_bytes > TEXT_BYTES_MAX:
            raise LimitReached(f"the names, principals and hosts of ACLs have at most {TEXT_BYTES_MAX} bytes")
        self._taken[resource] = len(added), text_bytes
        self._acls += len(added)
        self._text_bytes += text_bytes


def _result(result: AclBinding | dict[str, Any], outcomes: Mapping[Resource, Exception | None]) -> dict[str, Any]:
    if not isinstance(result, AclBinding):
        return result
    outcome = outcomes[result.resource]
    if outcome is None:
        return DONE
    if isinstance(outcome, LimitReached | TooLarge):
        return failed(ErrorCode.POLICY_VIOLATION, str(outcome))
    message = str(outcome) if isinstance(outcome, MalformedAcls) else "The ACL could not be stored."
    return failed(ErrorCode.UNKNOWN_SERVER_ERROR, message)

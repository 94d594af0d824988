"""The lines of kafka.authorizer.logger, in the words of StandardAuthorizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from kafka_cy.authorizer.acl_image import AclImage
from kafka_cy.authorizer.acls import ANONYMOUS, Operation, PatternType, ResourceType, host_text

_CAMEL = {kind: "".join(part.capitalize() for part in kind.name.split("_")) for kind in ResourceType}


class Decision(NamedTuple):
    """What somebody wanted to do, and whether it was allowed. `user` None: anonymous. `times`: how often the request names it."""

    allowed: bool
    user: str | None
    host: str
    operation: int
    resource_type: int
    name: str
    request: str  # Kafka's name of the API
    client_id: str | None = None
    times: int = 1

    @property
    def principal(self) -> str:
        """As ACLs name it."""
        return f"User:{ANONYMOUS if self.user is None else self.user}"


class Audit(Protocol):
    """Takes decisions, on any thread: it must not wait, and keep a bounded number of them."""

    def wants(self, allowed: bool) -> bool:
        """Whether it takes those that were allowed, or denied, at all."""

    def decided(self, decision: Decision, rule: Callable[[], str]) -> object:
        """A decision; `rule()` is what has decided (rule_text)."""


def rule_text(image: AclImage, user: bytes, host: bytes, operation: int, resource_type: int, name: bytes) -> str:
    """What has decided: SuperUser, the pattern of the ACL, or the default."""
    if image.is_super(user):
        return "SuperUser"
    if not image.closed:
        sizes = [size for size in image.prefix_sizes(resource_type) if size <= len(name)]
        patterns = [(PatternType.LITERAL, name), (PatternType.LITERAL, b"*")]
        patterns += [(PatternType.PREFIXED, name[:size]) for size in sizes]
        masks = [(each, image.pattern_masks(user, host, resource_type, *each)) for each in patterns]
        for place in (1, 0):  # denied before allowed
            for (pattern, prefix), found in masks:
                if found[place] >> operation & 1:
                    acl = f"{_resource(resource_type, pattern, prefix.decode(errors='replace'))}"
                    return f"MatchingAcl(resource={acl}, permissionType={'DENY' if place else 'ALLOW'})"
        if image.everyone and not any(found[2] for _, found in masks):
            return "DefaultAllow"
    return "DefaultDeny"


def audit_line(decision: Decision, rule: str) -> str:
    """One line of text: control characters of names are escaped."""
    verdict = "Allowed" if decision.allowed else "Denied"
    return _one_line(
        f"Principal = {decision.principal} is {verdict} operation = {Operation(decision.operation).name}"
        f" from host = {host_text(decision.host)} on resource = "
        f"{_resource(decision.resource_type, PatternType.LITERAL, decision.name)}"
        f" for request = {decision.request} with resourceRefCount = {decision.times} based on rule {rule}"
    )


def _resource(resource_type: int, pattern_type: int, name: str) -> str:
    return f"{_CAMEL[ResourceType(resource_type)]}:{PatternType(pattern_type).name}:{name}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

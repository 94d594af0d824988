"""Decides who may do what: super users, then ACLs, then allow.everyone.if.no.acl.found.

The decisions are those of Kafka's StandardAuthorizer and AclAuthorizer, which are the same: a DENY of the operation, or of
ALL, decides before any ALLOW, and how specific either is does not count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from itertools import islice, product
from typing import Any, Final

from kafka_cy.authorizer.acl_image import AclImage
from kafka_cy.authorizer.acls import (
    ALL_BITS,
    ANONYMOUS,
    WILDCARD,
    AclEntry,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    Resource,
    ResourceType,
    host_text,
    to_bytes,
    user_of,
)
from kafka_cy.authorizer.audit import Audit, Decision, rule_text
from kafka_cy.base.slices import at_once

LITERAL = PatternType.LITERAL
CLASS_NAMES: Final = (
    "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "kafka.security.authorizer.AclAuthorizer",
)
VERDICTS_KEPT: Final = 10_000  # of find_any, for one state of the ACLs
LOOKS_AT_ONCE: Final = 200  # of find_any in one step: one for each name, and one for each size of a prefix; a microsecond at most
_ALL = to_bytes(WILDCARD)
_IMPLIED_BY: Final[Mapping[int, tuple[int, ...]]] = {
    Operation.DESCRIBE: (Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER),
    Operation.DESCRIBE_CONFIGS: (Operation.ALTER_CONFIGS,),
}
NAMES_GONE: Final = 16  # that are not worth a new list
AllowKey = tuple[int, bytes, bytes, int]  # resource type, user, host and operation of an ALLOW


def parse_super_users(text: str) -> list[str]:
    """The principals of super.users: `Type:name;Type:name`. Raises ValueError."""
    principals = [part.strip() for part in text.split(";")]
    for principal in principals:
        if principal and ":" not in principal:
            raise ValueError(f"`{principal}` is not a principal: Type:name")
    return [principal for principal in principals if principal]


def authorizer_of(class_name: str, super_users: str = "", everyone: str = "false", **options: Any) -> Authorizer | None:
    """The authorizer that a broker's settings ask for; None: there is none, and everything is allowed. Raises ValueError.

    The texts are those of authorizer.class.name, super.users and allow.everyone.if.no.acl.found; the last two are no keys of
    Kafka's broker, but of the two classes, which decide alike.
    """
    name, for_all = class_name.strip(), everyone.strip().lower()
    if not name:
        return None
    if name not in CLASS_NAMES:
        raise ValueError(f"{name} must be one of {', '.join(CLASS_NAMES)}")
    if for_all not in ("true", "false"):
        raise ValueError(f"allow.everyone.if.no.acl.found={everyone}: must be true or false")
    return Authorizer(super_users, everyone=for_all == "true", **options)


class Allowing:
    """Resources whose ACLs allow the same to the same user. Owner: the control thread.

    `names` is only added to, and replaced when half of it is gone: who has it, and its length, keeps what there was at that time.
    """

    def __init__(self) -> None:
        self._resources: set[Resource] = set()
        self.names: list[Resource] = []  # may have some that are gone, or twice

    def __len__(self) -> int:
        return len(self._resources)

    def add(self, resource: Resource) -> None:
        """It allows it, too."""
        if resource not in self._resources:
            self._resources.add(resource)
            self.names.append(resource)

    def remove(self, resource: Resource) -> None:
        """It does not allow it any more."""
        self._resources.discard(resource)
        if len(self.names) > 2 * len(self._resources) + NAMES_GONE:
            self.names = list(self._resources)


class Authorizer:
    """The ACLs of a broker.

    Owner: the control thread, which changes them. Any thread asks: what decides is an immutable image, replaced as a whole.
    Limits: those of AclImage; beyond them, and until the ACLs are known, only super users are allowed anything.
    """

    def __init__(
        self,
        super_users: str = "",
        *,
        everyone: bool = False,
        publish: Callable[[AclImage], object] = lambda image: None,
        audit: Audit | None = None,
    ) -> None:
        """`super_users`: the setting; raises ValueError. `publish` gets each image before any answer comes from it.

        `audit`: where lines of kafka.authorizer.logger go.
        """
        users = [user for principal in parse_super_users(super_users) if (user := user_of(principal)) is not None]
        self._publish, self._audit = publish, audit
        self._entries: dict[Resource, tuple[AclEntry, ...]] = {}
        self._allowing: dict[AllowKey, Allowing] = {}  # may have more than the image
        self.image = AclImage(users, everyone)
        self._verdicts: tuple[AclImage, dict[tuple[bytes, bytes, int, int], bool]] = self.image, {}  # of find_any
        publish(self.image)

    # -- changes: the control thread --

    def update(self, changes: Mapping[Resource, Collection[AclEntry]]) -> None:
        """Replace the ACLs of some resources, all at once. Raises TooManyAcls; after any exception nothing has changed."""
        changed = {resource: tuple(entries) for resource, entries in changes.items() if self._differs(resource, entries)}
        if not changed:
            return
        rows = [_rows(resource, entries) for resource, entries in changed.items()]
        before = {resource: _allow_keys(resource, self._entries.get(resource, ())) for resource in changed}
        after = {resource: _allow_keys(resource, entries) for resource, entries in changed.items()}
        image = self.image.replaced(rows, self.image.closed)
        for resource, keys in after.items():  # first, so that nobody sees the image without them
            for key in keys:
                self._allowing.setdefault(key, Allowing()).add(resource)
        self._replace(image)
        for resource, entries in changed.items():
            if entries:
                self._entries[resource] = entries
            else:
                self._entries.pop(resource, None)
            self._forget(resource, before[resource] - after[resource])

    def _differs(self, resource: Resource, entries: Collection[AclEntry]) -> bool:
        return set(entries) != set(self._entries.get(resource, ()))

    def _forget(self, resource: Resource, keys: Iterable[AllowKey]) -> None:
        for key in keys:
            self._allowing[key].remove(resource)
            if not self._allowing[key]:
                del self._allowing[key]

    def open(self) -> None:
        """All ACLs are known: decide by them."""
        if self.image.closed:
            self._replace(self.image.replaced((), closed=False))

    def shut(self) -> None:
        """The ACLs are not known: allow nothing, except to super users."""
        if not self.image.closed:
            self._replace(self.image.replaced((), closed=True))

    def _replace(self, image: AclImage) -> None:
        self._publish(image)
        self.image = image

    # -- questions: any thread --

    def allows(
        self,
        user: str | None,
        host: str,
        operation: int,
        resource_type: int,
        name: str,
        *,
        request: str = "",
        client_id: str | None = None,
        count: int = 1,
        log_denied: bool = True,
    ) -> bool:
        """Whether a user (None: anonymous) may do that. `request`, `client_id`, `count`: the API, the client, and how often it
        names the resource, for the audit line.

        `log_denied` False: a denial only filters an answer, and is no line.
        """
        image, who, address, named = self.image, _user(user), to_bytes(host_text(host)), to_bytes(name)
        allowed = image.allows(who, address, operation, resource_type, named)
        audit = self._audit
        if audit is not None and (allowed or log_denied) and audit.wants(allowed):
            audit.decided(
                Decision(allowed, user, host, operation, resource_type, name, request, client_id, count),
                lambda: rule_text(image, who, address, operation, resource_type, named),
            )
        return allowed

    def rule(self, decision: Decision, generation: int) -> str | None:
        """What has decided with the ACLs of that generation; None: there are others now."""
        image = self.image
        if image.generation != generation:
            return None
        who, address = _user(decision.user), to_bytes(host_text(decision.host))
        return rule_text(image, who, address, decision.operation, decision.resource_type, to_bytes(decision.name))

    def operations(self, user: str | None, host: str, resource_type: int, name: str) -> int:
        """The bit field of KIP-430: the operations that a user may do, of those that the resource knows."""
        image, who, known = self.image, _user(user), ALL_BITS.get(ResourceType(resource_type), 0)
        if image.is_super(who):
            return known
        if image.closed:
            return 0
        allow, deny, found, _ = image.masks(who, to_bytes(host_text(host)), resource_type, to_bytes(name))
        if not found:
            return known if image.everyone else 0
        return allow & ~deny & known

    def allows_any(self, user: str | None, host: str, operation: int, resource_type: int) -> bool:
        """`find_any` in one step."""
        return at_once(self.find_any(user, host, operation, resource_type))

    def find_any(
        self, user: str | None, host: str, operation: int, resource_type: int
    ) -> Generator[None, None, bool]:
        """Whether a user may do that with any resource of a type (authorizeByResourceType, KIP-679). A task for slices.

        The answer is that of the ACLs at the beginning. The cost is that of the ACLs which allow the user the operation, if others
        deny all of them, once in each state of the ACLs.
        """
        key = (_user(user), to_bytes(host_text(host)), operation, resource_type)
        while True:
            image = self.image
            names = self._names_that_allow(resource_type, key[0], key[1], operation)
            if self.image is image:
                break
            yield  # the control thread has changed the ACLs in these microseconds
        of, verdicts = self._verdicts
        if of is not image or len(verdicts) >= VERDICTS_KEPT:
            verdicts = {}
            self._verdicts = image, verdicts  # both at once: another thread may ask about another image
        if key in verdicts:
            return verdicts[key]
        verdict = yield from self._find_any(image, names, *key)
        if len(verdicts) < VERDICTS_KEPT:
            verdicts[key] = verdict
        return verdict

    def _find_any(
        self, image: AclImage, names: list[tuple[list[Resource], int]], user: bytes, host: bytes, operation: int, resource_type: int
    ) -> Generator[None, None, bool]:
        """The answer by one state of the ACLs, however they change meanwhile. `names`: lists, and how much of each counts."""
        if image.allows(user, host, operation, resource_type, b"hardcode"):  # the name that Kafka asks about
            return True
        if image.closed:
            return False
        allow, deny, _ = image.pattern_masks(user, host, resource_type, LITERAL, _ALL)
        if deny >> operation & 1:
            return False
        if allow >> operation & 1:
            return True
        sizes, looks = image.prefix_sizes(resource_type), 0
        for resources, count in names:
            for resource in islice(resources, count):
                name = to_bytes(resource.name)
                if image.allows_some(user, host, operation, resource_type, resource.pattern_type, name):
                    return True
                looks += 1 + bisect_right(sizes, len(name))
                if looks >= LOOKS_AT_ONCE:
                    looks = 0
                    yield
        return False

    def _names_that_allow(self, resource_type: int, user: bytes, host: bytes, operation: int) -> list[tuple[list[Resource], int]]:
        """Lists with the resources that allow it, and perhaps others; only so much of each counts."""
        found = []
        for who, where in product(dict.fromkeys((user, _ALL)), dict.fromkeys((host, _ALL))):
            for each in (operation, Operation.ALL, *_IMPLIED_BY.get(operation, ())):
                allowing = self._allowing.get((resource_type, who, where, each))
                if allowing is not None:
                    names = allowing.names
                    found.append((names, len(names)))
        return found

    # -- what there is: any thread --

    def entries(self, resource: Resource) -> tuple[AclEntry, ...]:
        """The ACLs of a resource."""
        return self._entries.get(resource, ())

    def resources(self) -> list[Resource]:
        """All resources that have ACLs."""
        return list(self._entries)

    def matching(self, wanted: AclFilter) -> list[tuple[Resource, list[AclEntry]]]:
        """The ACLs that match a filter, by resource. It looks at all resources unless `wanted.resources` names some."""
        few = wanted.resources
        found = [(each, self.entries(each)) for each in few] if few is not None else list(self._entries.items())
        matching = [
            (resource, [entry for entry in entries if wanted.matches_entry(entry)])
            for resource, entries in found
            if wanted.matches_resource(resource)
        ]
        return [(resource, entries) for resource, entries in matching if entries]


def _user(user: str | None) -> bytes:
    return to_bytes(ANONYMOUS if user is None else user)


def _allow_keys(resource: Resource, entries: Iterable[AclEntry]) -> set[AllowKey]:
    return {
        (resource.resource_type, user, to_bytes(each.host), each.operation)
        for each in entries
        if each.permission == Permission.ALLOW and (user := user_of(each.principal)) is not None
    }


def _rows(
    resource: Resource, entries: Collection[AclEntry]
) -> tuple[int, int, bytes, list[tuple[bytes | None, bytes, int, int]]]:
    rows = [(user_of(each.principal), to_bytes(each.host), each.operation, each.permission) for each in entries]
    return resource.resource_type, resource.pattern_type, to_bytes(resource.name), rows

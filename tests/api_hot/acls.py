"""ACLs of a HotServer, and what its clients may do with them. Clients are anonymous; their addresses tell them apart."""

from __future__ import annotations

from kafka_cy.authorizer.acl_image import AclImage
from kafka_cy.authorizer.acls import AclEntry, Operation, PatternType, Permission, Resource, ResourceType
from kafka_cy.authorizer.authorizer import Authorizer

from .harness import HotServer

TOPIC, CLUSTER, TRANSACTIONAL_ID = ResourceType.TOPIC, ResourceType.CLUSTER, ResourceType.TRANSACTIONAL_ID
READ, WRITE, DESCRIBE, CLUSTER_ACTION = Operation.READ, Operation.WRITE, Operation.DESCRIBE, Operation.CLUSTER_ACTION
TOPIC_DENIED, TRANSACTIONAL_ID_DENIED = 29, 53


class Acls:
    """Without ACLs at the beginning, so that nobody may do anything."""

    def __init__(self, server: HotServer, *, super_users: str = "", everyone: bool = False) -> None:
        self.server = server
        self.authorizer = Authorizer(super_users, everyone=everyone, publish=self._publish)
        self.authorizer.open()

    def _publish(self, image: AclImage) -> None:
        self.server.publisher.publish_acls(image)

    def allow(
        self, operation: Operation, name: str, kind: ResourceType = TOPIC, *, host: str = "*", user: str = "*",
        pattern: PatternType = PatternType.LITERAL, permission: Permission = Permission.ALLOW,
    ) -> None:
        resource = Resource(kind, pattern, name)
        entry = AclEntry(f"User:{user}", host, operation, permission)
        self.authorizer.update({resource: (*self.authorizer.entries(resource), entry)})

    def deny(self, operation: Operation, name: str, kind: ResourceType = TOPIC, **more: object) -> None:
        self.allow(operation, name, kind, permission=Permission.DENY, **more)  # type: ignore[arg-type]

    def revoke(self, name: str, kind: ResourceType = TOPIC, pattern: PatternType = PatternType.LITERAL) -> None:
        """All that is said about it."""
        self.authorizer.update({Resource(kind, pattern, name): ()})

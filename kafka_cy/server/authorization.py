"""The authorizer of a broker: made from its settings, shown to the reactors, told what is stored before a client is served."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafka_cy.authorizer.acl_image import AclImage
    from kafka_cy.authorizer.audit import Audit
    from kafka_cy.authorizer.authorizer import Authorizer
    from kafka_cy.cluster.acl_store import StoredAcls
    from kafka_cy.cluster.store import AsyncStore
    from kafka_cy.cluster.store_calls import CallLater
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.server.audit_file import AuditFile
    from kafka_cy.server.broker import KafkaServer

CLASS, SUPER_USERS, EVERYONE = "authorizer.class.name", "super.users", "allow.everyone.if.no.acl.found"
AUDIT_LOG = "kafkacy.audit.log"


def authorizer_from(
    config: BrokerConfig, publish: Callable[[AclImage], object] = lambda image: None, audit: Audit | None = None
) -> Authorizer | None:
    """The authorizer that the settings ask for; None: there is none, and everything is allowed. Raises ConfigError."""
    class_name = str(config[CLASS] or "").strip()
    if not class_name:
        return None
    from kafka_cy.authorizer.authorizer import CLASS_NAMES, authorizer_of
    from kafka_cy.config import ConfigError

    users = str(config[SUPER_USERS] or "")
    try:
        return authorizer_of(class_name, users, str(config[EVERYONE]), publish=publish, audit=audit)
    except ValueError as error:
        if class_name not in CLASS_NAMES:
            allowed, reason = f"one of {', '.join(CLASS_NAMES)}", "kafka-cy cannot load Java classes"
            raise ConfigError(CLASS, class_name, allowed, reason) from error
        raise ConfigError(SUPER_USERS, users, "Type:name;Type:name", str(error)) from error


def start_authorizer(broker: KafkaServer) -> None:
    """Give the broker its authorizer and its audit, if the settings ask for them. Raises ConfigError.

    The reactors see each state of the ACLs before any answer comes from it.
    """
    if authorizer_from(broker.config) is None:
        if broker.config[AUDIT_LOG]:
            broker.log.warning(f"{AUDIT_LOG} has no effect, because {CLASS} is not set")
        return
    from kafka_cy.server.audit import BrokerAudit

    file_has_allowed = bool(broker.config["kafkacy.audit.log.allowed"])
    broker.audit = BrokerAudit(broker.log, _audit_file(broker), file_has_allowed=file_has_allowed)
    broker.authorizer = authorizer_from(broker.config, partial(_publish, broker), broker.audit)


def _audit_file(broker: KafkaServer) -> AuditFile | None:
    config, path = broker.config, str(broker.config[AUDIT_LOG] or "")
    if not path:
        return None
    from kafka_cy.config import ConfigError
    from kafka_cy.server.audit_file import AuditFile

    max_bytes, files = int(config["kafkacy.audit.log.max.bytes"]), int(config["kafkacy.audit.log.files"])
    try:
        return AuditFile(path, broker.log, max_bytes=max_bytes, files=files)
    except OSError as error:
        raise ConfigError(AUDIT_LOG, path, "a file that can be written", error.strerror or str(error)) from error


def _publish(broker: KafkaServer, image: AclImage) -> None:
    if broker.publisher is not None:  # else the reactors do not run yet
        broker.publisher.publish_acls(image)


def stored_acls(
    broker: KafkaServer, store: AsyncStore, call_later: CallLater, *, is_alone: bool
) -> StoredAcls | None:
    """The ACLs in the metadata tree, which are not loaded yet; None: there is no authorizer.

    `is_alone`: no other broker uses the tree.
    """
    if broker.authorizer is None:
        return None
    from kafka_cy.cluster.acl_store import StoredAcls

    return StoredAcls(
        store,
        broker.authorizer,
        is_alone=is_alone,
        wall_clock_ms=broker.controller_loop.wall_clock_ms,
        call_later=call_later,
        log=broker.log,
    )


def warn_of_no_rights(broker: KafkaServer) -> None:
    """Say so if nobody can do anything, not even create the first ACL, because a broker by itself has no other way to get one."""
    authorizer = broker.authorizer
    if authorizer is None or authorizer.image.everyone or authorizer.resources():
        return
    if not str(broker.config[SUPER_USERS] or "").strip("; "):
        broker.log.warning(f"nobody is allowed anything, not even to create ACLs: there are none, and {SUPER_USERS} is empty")

"""Encodes this broker's stored passwords with the current `password.encoder.secret`, at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka_cy.cluster.store import StoreError

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer


def renew_passwords(broker: KafkaServer) -> None:
    """Store what is in clear text, or encoded with `password.encoder.old.secret`, with the current secret.

    On the controller's thread. If it cannot be stored, the log says so, and the next start tries again.
    A request may have changed these settings already: what is stored is encoded, not what the start has read.
    """
    assert broker.arrangement is not None and broker.cluster is not None
    name = str(broker.config.broker_id)
    passwords = broker.config.passwords
    renewed = passwords.renewed(broker.cluster.config("brokers", name))
    if renewed is None:
        return

    def stored(fault: Exception | None) -> None:
        if fault is None:
            broker.log.info("stored passwords are encoded with the current password.encoder.secret", broker=name)
        else:
            broker.log.error("stored passwords cannot be encoded with the current password.encoder.secret", error=repr(fault))

    changes = broker.arrangement.config_changes
    if broker.arrangement.member is not None:
        changes.change("brokers", name, passwords.renewed, stored)
        return
    try:
        changes.set_config("brokers", name, renewed)
    except StoreError as error:
        stored(error)
    else:
        stored(None)

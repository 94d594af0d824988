"""Registers the handlers that reactors run without the GIL."""

from __future__ import annotations

from kafka_cy.api import (
    api_versions,
    fetch,
    heartbeat,
    list_offsets,
    metadata,
    offset_for_leader_epoch,
    produce,
)


def register_all() -> None:
    """Makes the reactors answer every hot API themselves; call once, before the server starts."""
    for module in (api_versions, fetch, heartbeat, list_offsets, metadata, offset_for_leader_epoch, produce):
        module.register()

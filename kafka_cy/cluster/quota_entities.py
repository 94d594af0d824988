"""Entities that have client quotas, the keys of their quotas, and where both are stored in the metadata tree.

A quota is a number, and belongs to a user, a client id, a client id of a user, or an address, or to all of a kind that have
no quota of their own (the default). It is stored as ZooKeeper-mode Kafka stored it, as a setting of the entity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from kafka_cy.cluster import znodes

USER: Final = "user"
CLIENT_ID: Final = "client-id"
IP: Final = "ip"

#: ((entity type, name; None is the default), ...), in the order in which Kafka shows them: client-id, user.
QuotaEntity = tuple[tuple[str, str | None], ...]

_CLIENT_KEYS: Final = {
    "producer_byte_rate": "LONG",
    "consumer_byte_rate": "LONG",
    "request_percentage": "DOUBLE",
    "controller_mutation_rate": "DOUBLE",
}
_IP_KEYS: Final = {"connection_creation_rate": "INT"}
_ALL_KEYS: Final = _CLIENT_KEYS | _IP_KEYS

#: Entity types in /config that may have quotas. The first is also the parent of the clients of a user.
STORED_TYPES: Final = ("users", "clients", "ips")
_DEFAULT: Final = "<default>"


def entity_of(names: Mapping[str, str | None]) -> QuotaEntity | None:
    """The entity with these names by entity type; None if Kafka has no such combination."""
    if set(names) not in ({USER}, {CLIENT_ID}, {USER, CLIENT_ID}, {IP}):
        return None
    return tuple((kind, names[kind]) for kind in (CLIENT_ID, USER, IP) if kind in names)


def keys_of(entity: QuotaEntity) -> Mapping[str, str]:
    """The keys of an entity's quotas, with the types that their values must have."""
    return _IP_KEYS if entity[0][0] == IP else _CLIENT_KEYS


def is_quota(key: str) -> bool:
    """Whether a setting of an entity is a quota; users have credentials, too."""
    return key in _ALL_KEYS


def stored_at(entity: QuotaEntity) -> tuple[str, str]:
    """Entity type and entity name of its settings in the metadata (znodes.config_entity)."""
    names = dict(entity)
    if IP in names:
        return "ips", _DEFAULT if names[IP] is None else str(names[IP])
    if USER not in names:
        return "clients", _stored_name(names[CLIENT_ID])
    user = _stored_name(names[USER])
    return "users", f"{user}/clients/{_stored_name(names[CLIENT_ID])}" if CLIENT_ID in names else user


def entity_at(entity_type: str, entity_name: str) -> QuotaEntity:
    """The inverse of stored_at."""
    if entity_type == "ips":
        return ((IP, None if entity_name == _DEFAULT else entity_name),)
    if entity_type == "clients":
        return ((CLIENT_ID, _name(entity_name)),)
    user, _, client = entity_name.partition("/clients/")
    return ((CLIENT_ID, _name(client)), (USER, _name(user))) if client else ((USER, _name(user)),)


def _stored_name(name: str | None) -> str:
    return _DEFAULT if name is None else znodes.sanitize(name)


def _name(stored: str) -> str | None:
    return None if stored == _DEFAULT else znodes.desanitize(stored)


def quotas_in(settings: Mapping[str, str]) -> dict[str, float]:
    """The quotas among an entity's settings. Raises ValueError for a value that is not a number."""
    return {key: float(text) for key, text in settings.items() if key in _ALL_KEYS}


def value_text(key: str, value: float) -> str:
    """A quota as it is stored: numbers as Java writes them, those of whole type without a fraction."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if _ALL_KEYS.get(key) != "DOUBLE" and value.is_integer():
        return str(int(value))
    return repr(value)


def shown(entity: QuotaEntity) -> str:
    """The entity in a line of the broker's log."""
    return ", ".join(f"default {kind}" if name is None else f"{kind} {name}" for kind, name in reversed(entity))

"""Checks of DescribeClientQuotas and AlterClientQuotas: Kafka's ClientQuotaControlManager and ClientQuotasImage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from kafka_cy.cluster.config_changes import ChangeRefused
from kafka_cy.cluster.quota_entities import (
    CLIENT_ID,
    IP,
    USER,
    QuotaEntity,
    entity_of,
    is_quota,
    keys_of,
    value_text,
)
from kafka_cy.protocol.errors import ErrorCode

NAME_CHARS_MAX: Final = 1_000  # ours: Kafka has no limit

_KINDS: Final = (CLIENT_ID, USER, IP)
_LARGEST: Final = {"INT": 2**31 - 1, "LONG": 2**63 - 1}
_FRACTION_MAX: Final = 1e-6  # a larger one is not a rounding error

# Types of a match in a filter.
EXACT: Final = 0
DEFAULT: Final = 1
SPECIFIED: Final = 2


class QuotaRefused(ChangeRefused):
    """A request, or a part of it, is refused."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INVALID_REQUEST) -> None:
        super().__init__(code, message)


Names = dict[str, str | None]  # of a request: entity type -> name; None is the default


def checked_entity(names: Names, is_host: Callable[[str], bool]) -> QuotaEntity:
    """The entity that a request names. Raises QuotaRefused."""
    for kind, name in names.items():
        if kind not in _KINDS:
            raise QuotaRefused(f"Unhandled client quota entity type: {kind}")
        if name == "":
            raise QuotaRefused(f"Empty {kind} not supported")
    if IP in names and len(names) > 1:
        raise QuotaRefused("Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId")
    entity = entity_of(names)
    if entity is None:
        raise QuotaRefused("Invalid empty client quota entity")
    host = names.get(IP)
    if host is not None and not is_host(host):
        raise QuotaRefused(f"{host} is not a valid IP or resolvable host.")
    if any(len(name) > NAME_CHARS_MAX for name in names.values() if name is not None):
        raise QuotaRefused(f"Names longer than {NAME_CHARS_MAX} characters are not supported", ErrorCode.POLICY_VIOLATION)
    return entity


def checked_quotas(entity: QuotaEntity, operations: Mapping[str, float | None]) -> dict[str, str | None]:
    """What these operations set, as it is stored; None removes a quota. Raises QuotaRefused, with the first error."""
    result: dict[str, str | None] = {}
    for key, value in operations.items():
        if value is not None:
            _check_value(keys_of(entity).get(key), key, value)
            result[key] = value_text(key, value)
        elif is_quota(key):  # not another setting of the entity
            result[key] = None
    return result


def changed_quotas(settings: Mapping[str, str], operations: Mapping[str, str | None]) -> dict[str, str]:
    """The settings of an entity after these operations."""
    return {key: text for key, text in {**settings, **operations}.items() if text is not None}


def _check_value(kind: str | None, key: str, value: float) -> None:
    """As Kafka, which accepts what is not a number; it limits nothing (an address: all)."""
    if kind is None:
        raise QuotaRefused(f"Invalid configuration key {key}")
    if value <= 0:
        raise QuotaRefused(f"Quota {key} must be greater than 0")
    if kind in _LARGEST:
        if value > _LARGEST[kind]:
            raise QuotaRefused(f"Proposed value for {key} is too large for {'an INT' if kind == 'INT' else 'a LONG'}.")
        if value % 1.0 > _FRACTION_MAX:
            raise QuotaRefused(f"{key} cannot be a fractional value.")


class Filter(NamedTuple):
    """What DescribeClientQuotas asks for."""

    exact: Names  # names that an entity must have
    types: frozenset[str]  # entity types that it must have
    strict: bool  # and no others

    def matches(self, entity: QuotaEntity) -> bool:
        """Whether the entity is described."""
        names = dict(entity)
        if not self.exact and not self.types:
            return not self.strict
        if self.strict and len(names) != len(self.exact) + len(self.types):
            return False
        return self.types <= names.keys() and all(
            kind in names and names[kind] == name for kind, name in self.exact.items()
        )


def checked_filter(components: Iterable[Any], *, strict: bool) -> Filter:
    """The filter of a request. Raises QuotaRefused."""
    exact: Names = {}
    types: set[str] = set()
    for component in components:
        kind, match_type, match = component.entity_type, component.match_type, component.match
        if not kind:
            raise QuotaRefused("Invalid empty entity type.")
        if kind in exact or kind in types:
            raise QuotaRefused(f"Entity type {kind} cannot appear more than once in the filter.")
        if kind not in _KINDS:
            raise QuotaRefused(f"Unsupported entity type {kind}", ErrorCode.UNSUPPORTED_VERSION)
        if match_type not in (EXACT, DEFAULT, SPECIFIED):
            raise QuotaRefused(f"Unknown match type {match_type}")
        if match_type == EXACT and match is None:
            raise QuotaRefused("Request specified MATCH_TYPE_EXACT, but set match string to null.")
        if match_type != EXACT and match is not None:
            name = "DEFAULT" if match_type == DEFAULT else "SPECIFIED"
            raise QuotaRefused(f"Request specified MATCH_TYPE_{name}, but also specified a match string.")
        if match_type == SPECIFIED:
            types.add(kind)
        else:
            exact[kind] = match
    named = types | exact.keys()
    if IP in named and len(named) > 1:
        raise QuotaRefused(
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter "
            "component."
        )
    return Filter(exact, frozenset(types), strict)

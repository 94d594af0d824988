"""Requests about client quotas. More of them are recorded (tests/control/golden_data/client_quotas.json.gz)."""

from __future__ import annotations

from typing import Any

from differential_cases import Case, Values

DESCRIBE, ALTER, CREATE_TOPICS = 48, 49, 19


def alter(names: dict[str, str | None], **limits: float | None) -> Values:
    """Set quotas of one entity; None removes one."""
    entity = [{"entity_type": kind, "entity_name": name} for kind, name in names.items()]
    ops = [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in limits.items()]
    return {"entries": [{"entity": entity, "ops": ops}], "validate_only": False}


def describe(*components: tuple[str, int, str | None], strict: bool = False) -> Values:
    """A filter."""
    named = [{"entity_type": kind, "match_type": how, "match": name} for kind, how, name in components]
    return {"components": named, "strict": strict}


def by_entity(answer: dict[str, Any]) -> Any:
    """The response in one order."""
    entries = answer["entries"]
    return answer | {"entries": entries and sorted(entries, key=str)}


BOTH: dict[str, str | None] = {"user": "ann", "client-id": None}
QUOTAS = [
    Case("quotas of a user", ALTER, 1, alter({"user": "ann"}, producer_byte_rate=1e6, request_percentage=0.5)),
    Case("quotas of both", ALTER, 0, alter(BOTH, consumer_byte_rate=2.0, controller_mutation_rate=1e-3), settle=True),
    Case("quotas that are there", DESCRIBE, 1, describe(("user", 0, "ann")), view=by_entity),
    Case("quotas of strictly one", DESCRIBE, 0, describe(("user", 2, None), strict=True), view=by_entity),
    Case("quota of -1", ALTER, 1, alter({"user": "ann"}, producer_byte_rate=-1.0)),
    Case("quota of an address", ALTER, 1, alter({"ip": "300.1.1.1"}, connection_creation_rate=1.0)),
    Case("quotas removed", ALTER, 1, alter({"user": "ann"}, producer_byte_rate=None, request_percentage=None)),
    Case("no more quotas", ALTER, 1, alter(BOTH, consumer_byte_rate=None, controller_mutation_rate=None), settle=True),
    Case("no quotas", DESCRIBE, 1, describe()),
]

"""What AlterConfigs and IncrementalAlterConfigs share: one result for each resource, and how a change is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.config import alterations
from kafka_cy.config.alterations import AlterationError
from kafka_cy.protocol.errors import ErrorCode


def alter_each(request: Request, alter: Callable[[Any], None]) -> dict[str, Any]:
    """Call `alter` with each resource and answer in the order of the request; it raises AlterationError to refuse."""
    resources = request.body.resources
    seen = Counter((resource.resource_type, resource.resource_name) for resource in resources)
    responses = []
    for resource in resources:
        kind, name = resource.resource_type, resource.resource_name
        result = {"error_code": 0, "error_message": None, "resource_type": kind, "resource_name": name}
        try:
            if seen[kind, name] > 1:
                raise AlterationError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            alter(resource)
        except AlterationError as error:
            result |= {"error_code": int(error.code), "error_message": error.message}
        responses.append(result)
    return {"throttle_time": 0, "responses": responses}


def replace_settings(
    context: ApiContext, kind: int, name: str, current: dict[str, str], settings: dict[str, str], *, validate_only: bool
) -> None:
    """Check a resource's new settings and store them when they differ. Raises AlterationError.

    A broker's are stored in any case: a file of the same name, a key store say, is read again (KIP-226).
    """
    alterations.validate_settings(context.config, kind, name, settings)
    if not validate_only and (settings != current or kind == alterations.BROKER):
        context.cluster.set_config(alterations.ENTITY_TYPES[kind], alterations.entity_name(kind, name), settings)

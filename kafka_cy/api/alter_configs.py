"""AlterConfigs (API 33), versions 0 to 2: replaces all settings of a resource by those in the request.

For topics, this broker, all brokers, groups and client metrics subscriptions; loggers are altered incrementally only.
Clients should use IncrementalAlterConfigs. Deviations: those of IncrementalAlterConfigs.
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.config import alterations
from kafka_cy.config.alterations import AlterationError
from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=33, versions=(0, 2))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """Answer with one result for each resource, in the order of the request."""
    body = request.body
    seen: dict[tuple[int, str], int] = {}
    for resource in body.resources:
        identity = (resource.resource_type, resource.resource_name)
        seen[identity] = seen.get(identity, 0) + 1
    responses = []
    for resource in body.resources:
        twice = seen[resource.resource_type, resource.resource_name] > 1
        responses.append(_alter(context, resource, bool(body.validate_only), twice))
    return {"throttle_time": 0, "responses": responses}


def _alter(context: ApiContext, resource: Any, validate_only: bool, twice: bool) -> dict[str, Any]:
    kind, name = resource.resource_type, resource.resource_name
    result: dict[str, Any] = {"error_code": 0, "error_message": None, "resource_type": kind, "resource_name": name}
    try:
        if twice:
            raise AlterationError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
        alterations.check_resource(context.config, context.cluster, kind, name)
        settings = alterations.replaced_settings([(config.name, config.value) for config in resource.configs])
        alterations.validate_settings(context.config, kind, name, settings)
        if not validate_only and settings != alterations.stored_settings(context.cluster, kind, name):
            context.cluster.set_config(alterations.ENTITY_TYPES[kind], alterations.entity_name(kind, name), settings)
    except AlterationError as error:
        return result | {"error_code": int(error.code), "error_message": error.message}
    return result

"""IncrementalAlterConfigs (API 44), versions 0 and 1 (KIP-339).

SET, DELETE, APPEND and SUBTRACT for topics, this broker (name = its id), all brokers (name empty), groups, client
metrics subscriptions and loggers. Each resource is changed wholly or not at all. A change takes effect before the
answer. Deviations: an unknown key of a broker is refused with INVALID_CONFIG (Kafka stores it); listeners and
`num.network.threads` are refused, as they are fixed at the start here.
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.config import alterations, loggers
from kafka_cy.config.alterations import AlterationError, Operation
from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=44, versions=(0, 1))
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
    operations = [Operation(config.name, config.config_operation, config.value) for config in resource.configs]
    try:
        if twice:
            raise AlterationError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
        if kind == alterations.BROKER_LOGGER:
            alterations.check_broker_name(context.config, name)
            loggers.alter(context.log, operations, validate_only=validate_only)
            return result
        alterations.check_resource(context.config, context.cluster, kind, name)
        current = alterations.stored_settings(context.cluster, kind, name)
        settings = alterations.changed_settings(kind, current, operations)
        alterations.validate_settings(context.config, kind, name, settings)
        if not validate_only and settings != current:
            context.cluster.set_config(alterations.ENTITY_TYPES[kind], alterations.entity_name(kind, name), settings)
    except AlterationError as error:
        return result | {"error_code": int(error.code), "error_message": error.message}
    return result

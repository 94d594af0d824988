"""AlterConfigs (API 33): replaces all settings of a resource by those in the request.

It works for topics, this broker, all brokers, groups and client metrics subscriptions. Loggers need IncrementalAlterConfigs.
Clients should use IncrementalAlterConfigs. Deviations: those of IncrementalAlterConfigs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api import config_alterations as alterations
from kafka_cy.api.config_alterations import SET, Alteration, Operation, alter_each
from kafka_cy.api.config_rights import check_right
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kio.schema.alter_configs.v2.request import AlterConfigsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesConfigs


@handler(api_key=33)
def handle(request: Request[AlterConfigsRequest], context: ChangesConfigs) -> dict[str, Any] | None:
    """Respond with one result for each resource, in the order of the request."""

    validate_only = bool(request.body.validate_only)

    def plan(resource: Any) -> Alteration:
        kind, name = resource.resource_type, resource.resource_name
        alterations.check_entries([(config.name, config.value, SET) for config in resource.configs])
        if kind in alterations.known_types(context.config):
            check_right(request, kind, name)
        alterations.check_resource(context.config, kind, name)
        operations = [Operation(config.name, SET, config.value) for config in resource.configs]
        return Alteration(context, kind, name, operations, replaces=True, validate_only=validate_only)

    return alter_each(request, context, plan)

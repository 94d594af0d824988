"""IncrementalAlterConfigs (API 44, KIP-339).

SET, DELETE, APPEND and SUBTRACT for topics, this broker (name = its id), all brokers (name empty), groups, client
metrics subscriptions and loggers. All changes of a resource take effect, or none. A change takes effect before the
response; but a broker's default for the settings of topics reaches their logs in slices, possibly after it (AppliedConfig).
Like Kafka, it stores an unknown key of a broker; the broker's log warns about it. Deviation: `listeners`,
`listener.security.protocol.map` and `num.network.threads` are refused, because they are fixed at the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api import broker_loggers
from kafka_cy.api import config_alterations as alterations
from kafka_cy.api.config_alterations import Alteration, Details, Operation, alter_each
from kafka_cy.api.config_rights import check_right
from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.incremental_alter_configs.v1.request import IncrementalAlterConfigsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesConfigs


@handler(api_key=44)
def handle(request: Request[IncrementalAlterConfigsRequest], context: ChangesConfigs) -> dict[str, Any] | None:
    """Respond with one result for each resource, in the order of the request."""
    validate_only = bool(request.body.validate_only)

    def plan(resource: Any) -> Alteration | Details | None:
        kind, name = resource.resource_type, resource.resource_name
        operations = [Operation(config.name, config.config_operation, config.value) for config in resource.configs]
        alterations.check_entries([(each.name, each.value, each.operation) for each in operations])
        known = alterations.known_types(context.config)
        if kind in known or kind == alterations.BROKER_LOGGER:
            check_right(request, kind, name)
        if kind == alterations.BROKER_LOGGER:
            broker_loggers.check_node(context.config, name)
            broker_loggers.alter(context.log, operations, validate_only=validate_only)
            if validate_only:
                return None
            return {"resource": "loggers root", "set": f"level={context.log.level}"}
        if kind == alterations.BROKER or kind not in known or (kind != alterations.TOPIC and context.config.is_member):
            alterations.check_resource(context.config, kind, name)
        if kind == alterations.TOPIC and name in context.cluster.topics_without_settings:
            message = f"The stored settings of topic '{name}' cannot be read, and this change would overwrite them."
            raise alterations.AlterationError(ErrorCode.UNKNOWN_SERVER_ERROR, message)
        alterations.changed_settings(kind, {}, operations)  # an operation that is never possible is the first error
        alterations.check_resource(context.config, kind, name)
        return Alteration(context, kind, name, operations, replaces=False, validate_only=validate_only)

    return alter_each(request, context, plan)

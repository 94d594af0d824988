"""DescribeConfigs (API 32).

It describes topics, this broker (name = its id), all brokers (name empty), groups, client metrics subscriptions and
loggers. Keys are in Kafka's order, with synonyms and documentation on request (KIP-226, KIP-569). Unknown keys of the
filter are left out; an empty filter means all keys. The documentation is our own, and says which keys have no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api import broker_loggers
from kafka_cy.api import config_alterations as alterations
from kafka_cy.api.authorization import denied
from kafka_cy.api.config_rights import DENIED, lacks_right
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.topic_names import problem_of
from kafka_cy.config import describe
from kafka_cy.config.describe import ConfigEntry
from kafka_cy.protocol.errors import INVALID_REQUEST_MESSAGE, ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_configs.v4.request import DescribeConfigsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesConfigs
    from kafka_cy.config.broker_config import BrokerConfig

NO_CLIENT_METRICS = "Config type client-metrics is only supported on KRaft clusters"


# Resources of a request with the same settings share what describes them: any number of groups that do not exist can be named.
Same = dict[tuple[Any, ...], list[dict[str, Any]]]
TOPICS_AT_ONCE_MAX = 4  # described on the loop, about 0.3 ms each; more, or a whole broker, are described on another thread


@handler(api_key=32)
def handle(request: Request[DescribeConfigsRequest], context: DescribesConfigs) -> dict[str, Any] | None:
    """Respond with one result for each resource, in the order of the request."""
    resources = request.body.resources
    known = alterations.known_types(context.config) | {alterations.BROKER_LOGGER}
    if any(resource.resource_type not in known for resource in resources):
        return {"throttle_time": 0, "results": [_malformed(resource) for resource in resources]}
    if len(resources) <= TOPICS_AT_ONCE_MAX and not any(map(_is_whole_broker, resources)):
        return _response(request, context)
    request.respond_long(lambda ready: ready(lambda: _response(request, context)))
    return None


def _is_whole_broker(resource: Any) -> bool:
    return resource.resource_type == alterations.BROKER and not resource.configuration_keys


def _response(request: Request[DescribeConfigsRequest], context: DescribesConfigs) -> dict[str, Any]:
    """What is denied comes last, as in Kafka. Any thread."""
    body = request.body
    synonyms = bool(body.include_synonyms)
    documentation = bool(getattr(body, "include_documentation", False))
    described: dict[Any, dict[str, Any]] = {}  # a resource that is named again and again is described once
    same: Same = {}
    results = []
    for resource in body.resources:
        key = (resource.resource_type, resource.resource_name, tuple(resource.configuration_keys or ()))
        result = described.get(key)
        if result is None:
            result = described[key] = _checked(request, context, resource, same, synonyms, documentation)
        results.append(result)
    results.sort(key=lambda each: each["error_code"] in DENIED)
    return {"throttle_time": 0, "results": results}


def _malformed(resource: Any) -> dict[str, Any]:
    """Kafka refuses a request as a whole when one resource is of an unknown type."""
    return {
        "error_code": int(ErrorCode.INVALID_REQUEST),
        "error_message": INVALID_REQUEST_MESSAGE,
        "resource_type": resource.resource_type,
        "resource_name": resource.resource_name,
        "configs": [],
    }


def _checked(
    request: Request[Any], context: DescribesConfigs, resource: Any, same: Same, synonyms: bool, documentation: bool
) -> dict[str, Any]:
    kind, name = resource.resource_type, resource.resource_name
    lacks = lacks_right(request, Operation.DESCRIBE_CONFIGS, kind, name)
    if lacks is None:
        return _describe(context, resource, same, synonyms, documentation)
    return denied(lacks) | {"resource_type": kind, "resource_name": name, "configs": []}


def _describe(
    context: DescribesConfigs, resource: Any, same: Same, synonyms: bool, documentation: bool
) -> dict[str, Any]:
    kind, name = resource.resource_type, resource.resource_name
    wanted = frozenset(resource.configuration_keys) if resource.configuration_keys else None
    result: dict[str, Any] = {"error_code": 0, "error_message": "", "resource_type": kind, "resource_name": name}
    try:
        if kind == alterations.BROKER_LOGGER:
            _check_logger_resource(context, name)
            return result | {"configs": broker_loggers.describe_all(context.log, wanted)}
        settings = _settings(context, kind, name)
    except alterations.AlterationError as error:
        return result | {"error_code": int(error.code), "error_message": error.message, "configs": []}
    looks_as = (kind, not name, wanted, *sorted(settings.items()))
    configs = same.get(looks_as)
    if configs is None:
        entries = _entries(context.config, kind, name, settings, wanted)
        configs = same[looks_as] = [_entry(entry, synonyms, documentation) for entry in entries]
    return result | {"configs": configs}


def _settings(context: DescribesConfigs, kind: int, name: str) -> dict[str, str]:
    """What is stored of a resource; nothing of a broker, whose configuration has it. Raises AlterationError."""
    if kind == alterations.BROKER:
        if name:
            _check_broker(context, name)
        return {}
    if kind == alterations.TOPIC:
        _check_topic(context, name)
    elif context.config.is_member:
        raise alterations.AlterationError(ErrorCode.INVALID_REQUEST, NO_CLIENT_METRICS)
    elif not name:
        what = "Group name" if kind == alterations.GROUP else "Client metrics subscription name"
        raise alterations.AlterationError(ErrorCode.INVALID_REQUEST, f"{what} must not be empty")
    return alterations.stored_settings(context, kind, name)


def _entries(
    config: BrokerConfig, kind: int, name: str, settings: dict[str, str], wanted: frozenset[str] | None
) -> list[ConfigEntry]:
    if kind == alterations.BROKER:
        return describe.describe_broker(config, wanted) if name else describe.describe_cluster_default(config, wanted)
    if kind == alterations.TOPIC:
        return describe.describe_topic(config, settings, wanted)
    if kind == alterations.GROUP:
        return describe.describe_group(config, settings, wanted)
    return describe.describe_client_metrics(settings, wanted)


def _check_topic(context: DescribesConfigs, name: str) -> None:
    problem = problem_of(name)
    if problem is not None:
        raise alterations.AlterationError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")
    if name not in context.cluster.topics:
        raise alterations.AlterationError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "")


def _check_broker(context: DescribesConfigs, name: str, expected: str = "or empty string, but") -> None:
    try:
        alterations.check_broker_name(context.config, name)
    except alterations.AlterationError as error:
        if error.message.startswith("Node id"):
            message = f"Broker id must be an integer, but it is: {name}"
        else:
            own = context.config.broker_id
            message = f"Unexpected broker id, expected {own} {expected} received {name}"
        raise alterations.AlterationError(error.code, message) from None


def _check_logger_resource(context: DescribesConfigs, name: str) -> None:
    if not name:
        raise alterations.AlterationError(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
    _check_broker(context, name, expected="but")


def _entry(entry: ConfigEntry, synonyms: bool, documentation: bool) -> dict[str, Any]:
    return {
        "name": entry.key.name,
        "value": entry.value,
        "read_only": entry.read_only,
        "config_source": entry.source,
        "is_sensitive": entry.key.sensitive,
        "synonyms": [synonym._asdict() for synonym in entry.synonyms] if synonyms else [],
        "config_type": entry.type_code,
        "documentation": entry.key.documentation if documentation else None,
    }

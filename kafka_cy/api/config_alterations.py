"""Changes of stored settings: what AlterConfigs and IncrementalAlterConfigs share, resource by resource."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_lines import changed_settings_of, log_each
from kafka_cy.api.change_pieces import PIECE_ENTITIES, add_task, stored_together, with_lines
from kafka_cy.cluster.config_changes import ChangeRefused
from kafka_cy.cluster.features import CORDON_LEVEL_MIN, ELIGIBLE_LEADER_REPLICAS, METADATA_VERSION
from kafka_cy.cluster.topic_names import problem_of
from kafka_cy.config import definitions, dynamic
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.key_warnings import has_meaning, no_effect_warning, unknown_key_warning
from kafka_cy.config.topic_settings import validate_topic_configs
from kafka_cy.config.types import ConfigError, ConfigKey, RelationError, UnknownKeyError, parse_value, split_list
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesConfigs, LogsAndConfig, ReadsClusterAndConfig

# Resource types of the protocol.
TOPIC: Final = 2
BROKER: Final = 4
BROKER_LOGGER: Final = 8
CLIENT_METRICS: Final = 16
GROUP: Final = 32

#: Resource type -> entity type in the metadata tree.
ENTITY_TYPES: Final = {TOPIC: "topics", BROKER: "brokers", CLIENT_METRICS: "client-metrics", GROUP: "groups"}

_KEY_OF: Final[dict[int, Callable[[str], ConfigKey | None]]] = {
    TOPIC: definitions.topic_key,
    BROKER: definitions.broker_key,
    CLIENT_METRICS: definitions.client_metrics_key,
    GROUP: definitions.group_key,
}

# Operations of IncrementalAlterConfigs (KIP-339).
SET: Final = 0
DELETE: Final = 1
APPEND: Final = 2
SUBTRACT: Final = 3


class Operation(NamedTuple):
    """One change of one key."""

    name: str
    operation: int
    value: str | None


class AlterationError(ChangeRefused):
    """A refused change of a resource."""

    message: str


CORDONED: Final = "cordoned.log.dirs"
MIN_INSYNC_REPLICAS: Final = "min.insync.replicas"
NO_REMOVAL_OF_MIN_ISR: Final = "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
NO_MIN_ISR_OF_A_BROKER: Final = "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
NO_CLIENT_METRICS: Final = "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS"
NO_CORDON: Final = f"The {CORDONED} configuration value cannot be set because it requires metadata.version >= 4.3-IV0"

Details = dict[str, str]  # of a change, for its line in the broker's log


class Alteration:
    """A change of the settings of one resource: of what is stored when the change is made."""

    def __init__(
        self, context: ChangesConfigs, kind: int, name: str, operations: Sequence[Operation], *, replaces: bool, validate_only: bool
    ) -> None:
        """`replaces`: settings without an operation are removed."""
        self.entity = ENTITY_TYPES[kind], entity_name(kind, name)
        self._context, self._kind, self._name, self._validate_only = context, kind, name, validate_only
        self._operations, self._replaces = operations, replaces
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}

    def edit(self, stored: dict[str, str]) -> dict[str, str] | None:
        """Check a resource's new settings; what is to be stored instead of `stored`, None: nothing. Raises AlterationError."""
        context, kind, name = self._context, self._kind, self._name
        before = _in_clear_text(context, kind, stored)
        after = changed_settings(kind, {} if self._replaces else before, self._operations)
        named = {each.name for each in self._operations}
        levels = context.cluster.features.levels
        if kind == BROKER and levels.get(ELIGIBLE_LEADER_REPLICAS, 0) > 0:
            check_min_insync_replicas(name, before, after, named)
        validate_settings(context.config, kind, name, after)
        if kind == TOPIC and name not in context.cluster.topics:
            raise AlterationError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        if kind == BROKER and CORDONED in named and levels.get(METADATA_VERSION, 0) < CORDON_LEVEL_MIN:
            raise AlterationError(ErrorCode.INVALID_CONFIG, NO_CORDON)
        if self._validate_only:
            return None
        self._before, self._after = before, after
        return _to_store(context, name, after, stored) if kind == BROKER else after

    def done(self) -> Details | None:
        """It is stored. A key without effect gets a warning in the broker's log when its value changes. The details for the log."""
        before, after, kind = self._before, self._after, self._kind
        if self._validate_only or (before == after and kind != BROKER):
            return None
        changed = {key: text for key, text in after.items() if before.get(key) != text}
        warn_of_keys_without_effect(self._context, kind, self._name, changed)
        hidden = {key for key in changed if is_hidden(kind, key)}
        return changed_settings_of(self.entity[0], self._name or "default", before, after, hidden)


def alter_each(
    request: Request[Any], context: ChangesConfigs, plan: Callable[[Any], Alteration | Details | None]
) -> dict[str, Any] | None:
    """Change each resource as `plan` says, and respond in the order of the request.

    `plan(resource)` raises AlterationError to refuse; it returns what it has changed itself as details for the log. What is changed
    is stored before the response, a few resources in each transaction, and logged then. Too many settings refuse the whole request.
    (Kafka does not count those that do not change.)
    """
    resources, changes = request.body.resources, context.config_changes
    if sum(len(resource.configs) for resource in resources) > RECORDS_PER_REQUEST_MAX:
        return {"throttle_time": 0, "responses": [_too_many(resource) for resource in resources]}
    lines: list[Details] = []
    response: dict[str, Any] = {"throttle_time": 0, "responses": []}

    def write_lines() -> None:
        log_each(context.log, "configuration changed", lines, request.sender)

    def alter_many(ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        add_task(request, context.slices, steps, lambda: changes.when_answered(lambda: ready(lambda: response)))

    steps = with_lines(_steps(resources, context, plan, lines, response["responses"]), lambda: changes.when_ended(write_lines))
    if len(resources) > PIECE_ENTITIES:
        request.respond_long(alter_many)
        return None
    for _ in steps:
        pass
    changes.when_answered(lambda: request.respond(response))
    return None


def _too_many(resource: Any) -> dict[str, Any]:
    code, message = int(ErrorCode.POLICY_VIOLATION), TOO_MANY_RECORDS
    kind, name = resource.resource_type, resource.resource_name
    return {"error_code": code, "error_message": message, "resource_type": kind, "resource_name": name}


def _steps(
    resources: Sequence[Any],
    context: ChangesConfigs,
    plan: Callable[[Any], Alteration | Details | None],
    lines: list[Details],
    rows: list[dict[str, Any]],
) -> Iterator[None]:
    """Change the resources, PIECE_ENTITIES in each step, which stores them."""
    seen = Counter((resource.resource_type, resource.resource_name) for resource in resources)
    for begin in range(0, len(resources), PIECE_ENTITIES):
        with stored_together(context.config_changes.batch(), lines):
            for resource in resources[begin : begin + PIECE_ENTITIES]:
                kind, name = resource.resource_type, resource.resource_name
                row = {"error_code": 0, "error_message": None, "resource_type": kind, "resource_name": name}
                rows.append(row)
                try:
                    if seen[kind, name] > 1:
                        raise AlterationError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
                    planned = plan(resource)
                except AlterationError as error:
                    row |= {"error_code": int(error.code), "error_message": error.message}
                    continue
                if isinstance(planned, Alteration):
                    outcome = partial(_take_outcome, planned, row, lines)
                    context.config_changes.change(*planned.entity, planned.edit, outcome)
                elif planned is not None:
                    lines.append(planned)
        yield


def _take_outcome(alteration: Alteration, row: dict[str, Any], lines: list[Details], refused: ChangeRefused | None) -> None:
    if refused is not None:
        row |= {"error_code": int(refused.code), "error_message": refused.message}
        return
    details = alteration.done()
    if details is not None:
        lines.append(details)


def check_min_insync_replicas(
    name: str, current: Mapping[str, str], settings: Mapping[str, str], named: Collection[str]
) -> None:
    """Replicas are eligible as leaders by one min.insync.replicas for the cluster (KIP-966). Raises AlterationError."""
    is_removed = MIN_INSYNC_REPLICAS in current and MIN_INSYNC_REPLICAS not in settings
    if name and (is_removed or MIN_INSYNC_REPLICAS in named):
        raise AlterationError(ErrorCode.INVALID_CONFIG, NO_MIN_ISR_OF_A_BROKER)
    if not name and (is_removed or (MIN_INSYNC_REPLICAS in named and MIN_INSYNC_REPLICAS not in settings)):
        raise AlterationError(ErrorCode.INVALID_CONFIG, NO_REMOVAL_OF_MIN_ISR)


def is_hidden(kind: int, name: str) -> bool:
    """Whether a setting's value may not be shown: that of a password, or of a key that is not known, as in Kafka."""
    key = _KEY_OF[kind](name)
    return key is None or key.sensitive


def warn_of_keys_without_effect(context: LogsAndConfig, kind: int, name: str, settings: Mapping[str, str]) -> None:
    """Write a warning to the broker's log for each of these valid settings that has no effect or is not known."""
    for key_name, text in settings.items():
        key = _KEY_OF[kind](key_name)
        if key is None:
            context.log.warning(unknown_key_warning(key_name), resource=f"{ENTITY_TYPES[kind]} {name or 'default'}")
        elif context.config.ignores(key) and has_meaning(key, parse_value(key, text)):
            context.log.warning(no_effect_warning(key), resource=f"{ENTITY_TYPES[kind]} {name or 'default'}")


def entity_name(resource_type: int, resource_name: str) -> str:
    """Name of a resource in the metadata tree."""
    return dynamic.CLUSTER_DEFAULT if resource_type == BROKER and not resource_name else resource_name


def stored_settings(context: ReadsClusterAndConfig, resource_type: int, resource_name: str) -> dict[str, str]:
    """Settings of a resource as they are stored, with passwords in clear text."""
    stored = context.cluster.config(ENTITY_TYPES[resource_type], entity_name(resource_type, resource_name))
    return _in_clear_text(context, resource_type, stored)


def _in_clear_text(context: ReadsClusterAndConfig, resource_type: int, stored: dict[str, str]) -> dict[str, str]:
    if resource_type == BROKER and any("encryptedPassword:" in text for text in stored.values()):
        return context.config.passwords.decode_all(stored)
    return stored


def _to_store(
    context: ReadsClusterAndConfig, name: str, settings: dict[str, str], stored: Mapping[str, str]
) -> dict[str, str]:
    """A broker's settings with passwords encoded, as far as they are; `stored`: of before. Raises AlterationError."""
    from kafka_cy.config.stored_passwords import PasswordNotStored

    try:
        if not name:
            context.config.passwords.check_of_all(settings)
            return settings
        return context.config.passwords.encode_all(settings, stored)
    except PasswordNotStored as error:
        message = f"Invalid config value for resource ConfigResource(type=BROKER, name='{name}'): {error}"
        raise AlterationError(ErrorCode.INVALID_CONFIG, message) from None


def check_entries(configs: Sequence[tuple[str, str | None, int]]) -> None:
    """Check (key, value, operation) of a resource, before anything else of it. Raises AlterationError."""
    names = [name for name, _, _ in configs]
    if len(set(names)) != len(names):
        raise AlterationError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    missing = [name for name, value, operation in configs if value is None and operation != DELETE]
    if missing:
        raise AlterationError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {','.join(missing)}")


def known_types(config: BrokerConfig) -> frozenset[int]:
    """Types of resources that have settings. In a cluster with ZooKeeper groups have none, as in Kafka 3.9."""
    return frozenset(each for each in ENTITY_TYPES if each != GROUP or not config.is_member)


def check_resource(config: BrokerConfig, resource_type: int, resource_name: str) -> None:
    """Check that settings of a resource of this name may be changed. Raises AlterationError."""
    if resource_type == TOPIC:
        if not resource_name:
            raise AlterationError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
        problem = problem_of(resource_name)
        if problem is not None:
            raise AlterationError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")
    elif resource_type == BROKER:
        if resource_name:
            check_broker_name(config, resource_name)
    elif resource_type == CLIENT_METRICS:
        if config.is_member:
            raise AlterationError(ErrorCode.INVALID_REQUEST, NO_CLIENT_METRICS)
        if not resource_name:
            raise AlterationError(ErrorCode.INVALID_REQUEST, "Subscription name can't be empty")
    elif resource_type in known_types(config):
        if not resource_name:
            raise AlterationError(ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
    else:
        raise AlterationError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {resource_type}")


def check_broker_name(config: BrokerConfig, resource_name: str) -> None:
    """Check that a resource name is this broker's id. Raises AlterationError."""
    digits = resource_name[1:] if resource_name[:1] in ("-", "+") else resource_name
    if not (digits.isascii() and digits.isdigit()):
        raise AlterationError(ErrorCode.INVALID_REQUEST, f"Node id must be an integer, but it is: {resource_name}")
    if int(resource_name) != config.broker_id:
        message = f"Unexpected broker id, expected {config.broker_id}, but received {resource_name}"
        raise AlterationError(ErrorCode.INVALID_REQUEST, message)


def changed_settings(resource_type: int, current: Mapping[str, str], operations: Sequence[Operation]) -> dict[str, str]:
    """Return the settings after `operations`. Raises AlterationError; `current` stays as it is."""
    result = dict(current)
    for operation in operations:
        _apply(resource_type, result, operation)
    return result


def validate_settings(
    config: BrokerConfig, resource_type: int, resource_name: str, settings: Mapping[str, str]
) -> None:
    """Check the whole set of settings of a resource. Raises AlterationError."""
    try:
        if resource_type == TOPIC:
            validate_topic_configs(settings)
        elif resource_type == BROKER:
            dynamic.validate_broker_settings(config, settings, cluster_default=not resource_name)
            if resource_name:
                config.check_reconfiguration(settings)
        elif resource_type == GROUP:
            validate_group_settings(config, settings)
        else:
            _validate_each("client metrics", definitions.client_metrics_key, settings)
    except dynamic.NotDynamicError as error:
        raise AlterationError(ErrorCode.INVALID_REQUEST, str(error)) from None
    except UnknownKeyError as error:
        if resource_type == CLIENT_METRICS:
            message = f"Unknown client metrics configuration: {error.key}"
            raise AlterationError(ErrorCode.INVALID_REQUEST, message) from None
        raise AlterationError(ErrorCode.INVALID_CONFIG, error.kafka_message) from None
    except ConfigError as error:
        if resource_type == CLIENT_METRICS and error.key == "interval.ms" and "Not a number" not in error.reason:
            message = f"Invalid value {error.value} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
            raise AlterationError(ErrorCode.INVALID_REQUEST, message) from None
        # Kafka answers INVALID_REQUEST for broker settings and INVALID_CONFIG for all others.
        code = ErrorCode.INVALID_REQUEST if resource_type == BROKER else ErrorCode.INVALID_CONFIG
        raise AlterationError(code, error.kafka_message) from None


def validate_group_settings(config: BrokerConfig, settings: Mapping[str, str]) -> None:
    """Check the settings of a group, including against the broker's limits. Raises ConfigError."""
    typed = _validate_each("group", definitions.group_key, settings)
    synonyms = definitions.group_broker_synonyms()
    for name, value in typed.items():
        broker_name = synonyms.get(name)
        if broker_name is None or not isinstance(value, int):
            continue
        # group.consumer.session.timeout.ms -> group.consumer.min.session.timeout.ms and ...max...
        _, kind, rest = broker_name.split(".", 2)
        rest = {"num.standby.replicas": "standby.replicas"}.get(rest, rest)
        low, high = config.get(f"group.{kind}.min.{rest}"), config.get(f"group.{kind}.max.{rest}")
        if low is not None and value < low:
            reason = f"{name} must be greater than or equal to group.{kind}.min.{rest}"
            raise RelationError(name, value, f"at least {low}", reason)
        if high is not None and value > high:
            reason = f"{name} must be less than or equal to group.{kind}.max.{rest}"
            raise RelationError(name, value, f"at most {high}", reason)
    effective = config.group_config(settings)
    for kind in ("consumer", "share", "streams"):
        session, heartbeat = effective[f"{kind}.session.timeout.ms"], effective[f"{kind}.heartbeat.interval.ms"]
        if session <= heartbeat:
            reason = f"{kind}.session.timeout.ms must be greater than {kind}.heartbeat.interval.ms"
            raise RelationError(f"{kind}.session.timeout.ms", session, f"above {heartbeat}", reason)


def _validate_each(entity: str, find: Any, settings: Mapping[str, str]) -> dict[str, Any]:
    typed = {}
    for name, text in settings.items():
        key: ConfigKey | None = find(name)
        if key is None:
            raise UnknownKeyError(entity, name, text)
        typed[name] = parse_value(key, text)
    return typed


def _find_key(resource_type: int, name: str) -> ConfigKey | None:
    """Return the key whose type APPEND and SUBTRACT need. Kafka's controller knows no types of group and client metrics keys."""
    if resource_type == TOPIC:
        return definitions.topic_key(name)
    return definitions.broker_key(name) if resource_type == BROKER else None


def _apply(resource_type: int, settings: dict[str, str], operation: Operation) -> None:
    name, kind, value = operation
    if kind == SET:
        settings[name] = str(value)
    elif kind == DELETE:
        settings.pop(name, None)
    elif kind in (APPEND, SUBTRACT):
        settings[name] = _merged_list(resource_type, settings, operation)
    else:
        text = f"Unknown operations type {kind}" if resource_type == BROKER else f"Unknown operation type id {kind}."
        raise AlterationError(ErrorCode.INVALID_REQUEST, text)


def _merged_list(resource_type: int, settings: Mapping[str, str], operation: Operation) -> str:
    key = _find_key(resource_type, operation.name)
    if key is None or key.type != "LIST":
        verb = "APPEND" if operation.operation == APPEND else "SUBTRACT"
        message = f"Can't {verb} to key {operation.name} because its type is not LIST."
        if resource_type == BROKER:
            message = f"Config value {verb.lower()} is not allowed for config key: {operation.name}"
            if key is None:
                message = f"Unknown config name: {operation.name}"
        raise AlterationError(ErrorCode.INVALID_CONFIG, message)
    parts = split_list(settings.get(key.name, key.default or ""))
    operands = split_list(operation.value or "")
    if operation.operation == APPEND:
        present = frozenset(parts)
        parts += [part for part in dict.fromkeys(operands) if part not in present]
    else:
        removed = frozenset(operands)
        parts = [part for part in parts if part not in removed]
    return ",".join(parts)

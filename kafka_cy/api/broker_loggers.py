"""The level of the broker's log, which the BROKER_LOGGER resource shows and changes (KIP-412).

There is one logger, `root`. Kafka's level names map to ours: FATAL to error, WARN to warning, TRACE to debug.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

from kafka_cy.api.config_alterations import (
    APPEND,
    DELETE,
    SET,
    SUBTRACT,
    AlterationError,
    Operation,
    check_broker_name,
)
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.dynamic import DYNAMIC_BROKER_LOGGER_CONFIG
from kafka_cy.protocol.errors import ErrorCode

ROOT: Final = "root"
_LEVELS: Final = {
    "DEBUG": "debug",
    "ERROR": "error",
    "FATAL": "error",
    "INFO": "info",
    "TRACE": "debug",
    "WARN": "warning",
}
_NAMES: Final = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR"}


class LeveledLog(Protocol):
    """A log whose level can be read and set: debug, info, warning or error."""

    level: str


def describe_all(log: LeveledLog, wanted: Collection[str] | None) -> list[dict[str, Any]]:
    """Describe the loggers as DescribeConfigs lists them."""
    if wanted is not None and ROOT not in wanted:
        return []
    entry = {"name": ROOT, "value": _NAMES[log.level], "read_only": False, "is_sensitive": False}
    return [entry | {"config_source": DYNAMIC_BROKER_LOGGER_CONFIG, "synonyms": [], "config_type": 0}]


def check_node(config: BrokerConfig, name: str) -> None:
    """Check that a resource name is this broker's id. Raises AlterationError."""
    try:
        check_broker_name(config, name)
    except AlterationError as error:
        if not error.message.startswith("Unexpected"):
            raise
        message = f"Unexpected node id. Expected {config.broker_id}, but received {name}"
        raise AlterationError(error.code, message) from None


def alter(log: LeveledLog, operations: Sequence[Operation], *, validate_only: bool) -> None:
    """Set levels. Raises AlterationError before anything is changed."""
    for operation in operations:  # first, because the loggers of Kafka's classes, which clients may name, do not exist here
        _check_kind(operation)
    for operation in operations:
        _check(operation)
    if not validate_only:
        for operation in operations:
            log.level = _LEVELS[str(operation.value)]


def _check_kind(operation: Operation) -> None:
    if operation.operation not in (SET, DELETE):
        verb = {APPEND: "APPEND", SUBTRACT: "SUBTRACT"}.get(operation.operation, "That")
        message = f"{verb} operation is not allowed for the BROKER_LOGGER resource"
        raise AlterationError(ErrorCode.INVALID_REQUEST, message)


def _check(operation: Operation) -> None:
    if operation.name != ROOT:
        raise AlterationError(ErrorCode.INVALID_CONFIG, f"Logger {operation.name} does not exist!")
    if operation.operation == DELETE:
        message = f"Removing the log level of the {ROOT} logger is not allowed"
        raise AlterationError(ErrorCode.INVALID_REQUEST, message)
    if operation.value not in _LEVELS:
        levels = ", ".join(_LEVELS)
        message = (
            f"Cannot set the log level of {operation.name} to {operation.value} as it is not a supported log level. "
            f"Valid log levels are {levels}"
        )
        raise AlterationError(ErrorCode.INVALID_CONFIG, message)

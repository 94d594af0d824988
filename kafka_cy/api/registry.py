"""Which cold APIs exist: key, versions, and the module whose handler answers. ApiVersions derives from this table.

`COLD_APIS` names the modules so that none is imported before its first request; `@handler` in the module states the
same range, and a test holds the two together. Hot APIs (in `kafka_cy.api.hot`) come first: what they FORWARD goes to
the cold handler of the same key.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kafka_cy.api.context import ApiContext, Request

Handle = Callable[["Request", "ApiContext"], Mapping[str, Any] | None]


class ColdApi(NamedTuple):
    """One row of the table: both versions inclusive; `flexible_from` is the first version with compact lengths."""

    module: str
    version_min: int
    version_max: int
    flexible_from: int


class ApiRange(NamedTuple):
    """What is advertised of an API and what the network needs to read its header."""

    api_key: int
    version_min: int
    version_max: int
    flexible_from: int


NEVER_FLEXIBLE = 32767

COLD_APIS: dict[int, ColdApi] = {
    3: ColdApi("metadata_cold", 0, 13, 9),
    8: ColdApi("offset_commit", 2, 10, 8),
    9: ColdApi("offset_fetch", 1, 10, 6),
    10: ColdApi("find_coordinator", 0, 6, 3),
    11: ColdApi("join_group", 0, 9, 6),
    12: ColdApi("heartbeat_cold", 0, 4, 4),
    13: ColdApi("leave_group", 0, 5, 4),
    14: ColdApi("sync_group", 0, 5, 4),
    15: ColdApi("describe_groups", 0, 6, 5),
    16: ColdApi("list_groups", 0, 5, 3),
    19: ColdApi("create_topics", 2, 7, 5),
    20: ColdApi("delete_topics", 1, 6, 4),
    21: ColdApi("delete_records", 0, 2, 2),
    22: ColdApi("init_producer_id", 0, 5, 2),
    32: ColdApi("describe_configs", 1, 4, 4),
    33: ColdApi("alter_configs", 0, 2, 2),
    34: ColdApi("alter_replica_log_dirs", 1, 2, 2),
    35: ColdApi("describe_log_dirs", 1, 5, 2),
    37: ColdApi("create_partitions", 0, 3, 2),
    42: ColdApi("delete_groups", 0, 2, 2),
    43: ColdApi("elect_leaders", 0, 2, 2),
    44: ColdApi("incremental_alter_configs", 0, 1, 1),
    45: ColdApi("alter_partition_reassignments", 0, 1, 0),
    46: ColdApi("list_partition_reassignments", 0, 0, 0),
    47: ColdApi("offset_delete", 0, 0, NEVER_FLEXIBLE),
    60: ColdApi("describe_cluster", 0, 2, 0),
    61: ColdApi("describe_producers", 0, 0, 0),
    71: ColdApi("get_telemetry_subscriptions", 0, 0, 0),
    72: ColdApi("push_telemetry", 0, 0, 0),
    74: ColdApi("list_config_resources", 0, 1, 0),
    75: ColdApi("describe_topic_partitions", 0, 0, 0),
}

# Served in the reactors; a row here and in COLD_APIS: the reactor forwards what it cannot answer.
HOT_APIS: list[ApiRange] = [
    ApiRange(0, 0, 13, 9),  # 0-2 stand in the list for librdkafka's feature tests only and are refused (KAFKA-18659)
    ApiRange(1, 4, 18, 12),
    ApiRange(2, 1, 11, 6),
    ApiRange(3, 0, 13, 9),
    ApiRange(12, 0, 4, 4),
    ApiRange(18, 0, 4, 3),
    ApiRange(23, 2, 4, 4),
]

_handlers: dict[int, Handle] = {}


def handler(*, api_key: int, versions: tuple[int, int]) -> Callable[[Handle], Handle]:
    """Registers the function as the cold handler of an API for versions (min, max), both inclusive."""

    def register(function: Handle) -> Handle:
        function.API_KEY, (function.VERSION_MIN, function.VERSION_MAX) = api_key, versions  # type: ignore[attr-defined]
        _handlers[api_key] = function
        return function

    return register


def cold_handler(api_key: int) -> Handle | None:
    """The handler of an API; imports its module at first use. None: there is no such cold API."""
    found = _handlers.get(api_key)
    if found is None and api_key in COLD_APIS:
        importlib.import_module("kafka_cy.api." + COLD_APIS[api_key].module)
        found = _handlers[api_key]
    return found


def advertised() -> list[ApiRange]:
    """Every API with its range, ascending by key: what ApiVersions lists."""
    table = {key: ApiRange(key, row.version_min, row.version_max, row.flexible_from) for key, row in COLD_APIS.items()}
    table.update({row.api_key: row for row in HOT_APIS})
    return [table[key] for key in sorted(table)]

"""Every API that is served: its versions and the modules with its handlers. The versions are said here and nowhere else.

ApiVersions, the reactors' check of request headers and the registration of hot handlers derive from `APIS`. Cold handlers
run on the control plane. Their modules are imported with the first request, so the table names them; `@handler` in the
module registers the function. Hot handlers run on the reactors; a request that one forwards goes to the
cold handler of the same key.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from kafka_cy.api.context import ApiContext, Request

# A handler names the body of its requests and the role that it needs (kafka_cy.api.roles), which ApiContext plays.
Handle = Callable[["Request[Any]", "ApiContext"], Mapping[str, Any] | None]
Handler = TypeVar("Handler", bound=Handle)


# Loops of the control plane, each with a thread and a queue of its own. The index is that of the network's queue.
ADMIN, COORDINATOR, CONTROLLER = 0, 1, 2
LOOPS = ("admin", "coordinator", "controller")


class Api(NamedTuple):
    """One API: both versions inclusive, the first version with compact lengths, and the modules of its handlers.

    A hot API has a module that reactors run (`hot`); a cold API has one with a `handle` for the control plane (`module`);
    Metadata and Heartbeat have both. `loop` is where `handle` runs: COORDINATOR for requests about groups, CONTROLLER for
    those that change the cluster's metadata and wait for its store and for log directories, ADMIN for all others.

    What a cluster and authentication ask of an API, as in Kafka:
    `before_authentication`: clients may send it on a connection that is not authenticated yet (SaslServerAuthenticator).
    `cluster_action`: only brokers send it; it needs CLUSTER_ACTION on the cluster (AclOperation).
    `controller_only`: the controller of the cluster answers it, and no other broker (ApiMessageType "listeners", NOT_CONTROLLER).
    """

    version_min: int
    version_max: int
    flexible_from: int
    module: str = ""
    hot: str = ""
    loop: int = ADMIN
    before_authentication: bool = False
    cluster_action: bool = False
    controller_only: bool = False


class ApiRange(NamedTuple):
    """What is advertised of an API and what the network needs to read its header and to forward it."""

    api_key: int
    version_min: int
    version_max: int
    flexible_from: int
    loop: int


NEVER_FLEXIBLE = 32767

# By API key.
APIS: dict[int, Api] = {
    0: Api(0, 13, 9, hot="produce"),  # 0-2 are listed for the feature tests of librdkafka only; they are refused (KAFKA-18659)
    1: Api(4, 18, 12, hot="fetch"),
    2: Api(1, 11, 6, hot="list_offsets"),
    3: Api(0, 13, 9, "metadata_cold", hot="metadata"),
    8: Api(2, 10, 8, "offset_commit", loop=COORDINATOR),
    9: Api(1, 10, 6, "offset_fetch", loop=COORDINATOR),
    10: Api(0, 6, 3, "find_coordinator", loop=COORDINATOR),
    11: Api(0, 9, 6, "join_group", loop=COORDINATOR),
    12: Api(0, 4, 4, "heartbeat_cold", hot="heartbeat", loop=COORDINATOR),
    13: Api(0, 5, 4, "leave_group", loop=COORDINATOR),
    14: Api(0, 5, 4, "sync_group", loop=COORDINATOR),
    15: Api(0, 6, 5, "describe_groups", loop=COORDINATOR),
    16: Api(0, 5, 3, "list_groups", loop=COORDINATOR),
    18: Api(0, 4, 3, hot="api_versions", before_authentication=True),
    19: Api(2, 7, 5, "create_topics", loop=CONTROLLER, controller_only=True),
    20: Api(1, 6, 4, "delete_topics", loop=CONTROLLER, controller_only=True),
    21: Api(0, 2, 2, "delete_records"),
    22: Api(0, 5, 2, "init_producer_id"),
    23: Api(2, 4, 4, hot="offset_for_leader_epoch"),
    32: Api(1, 4, 4, "describe_configs"),
    33: Api(0, 2, 2, "alter_configs", loop=CONTROLLER),
    34: Api(1, 2, 2, "alter_replica_log_dirs", loop=CONTROLLER),
    35: Api(1, 5, 2, "describe_log_dirs"),
    37: Api(0, 3, 2, "create_partitions", loop=CONTROLLER, controller_only=True),
    42: Api(0, 2, 2, "delete_groups", loop=COORDINATOR),
    43: Api(0, 2, 2, "elect_leaders", loop=CONTROLLER, controller_only=True),
    44: Api(0, 1, 1, "incremental_alter_configs", loop=CONTROLLER),
    45: Api(0, 1, 0, "alter_partition_reassignments", loop=CONTROLLER, controller_only=True),
    46: Api(0, 0, 0, "list_partition_reassignments", controller_only=True),
    47: Api(0, 0, NEVER_FLEXIBLE, "offset_delete", loop=COORDINATOR),
    60: Api(0, 2, 0, "describe_cluster"),
    61: Api(0, 0, 0, "describe_producers"),
    71: Api(0, 0, 0, "get_telemetry_subscriptions"),
    72: Api(0, 0, 0, "push_telemetry"),
    74: Api(0, 1, 0, "list_config_resources"),
    75: Api(0, 0, 0, "describe_topic_partitions"),
}

COLD_APIS = {api_key: api for api_key, api in APIS.items() if api.module}
HOT_APIS = {api_key: api for api_key, api in APIS.items() if api.hot}

_handlers: dict[int, Handle] = {}


def handler(*, api_key: int) -> Callable[[Handler], Handler]:
    """Register the function as the cold handler of an API."""

    def register(function: Handler) -> Handler:
        _handlers[api_key] = function
        return function

    return register


def cold_handler(api_key: int) -> Handle | None:
    """The handler of an API, whose module is imported with the first call. None if there is no such cold API."""
    found = _handlers.get(api_key)
    if found is None and api_key in COLD_APIS:
        importlib.import_module("kafka_cy.api." + COLD_APIS[api_key].module)
        found = _handlers[api_key]
    return found


def advertised() -> list[ApiRange]:
    """Every API with its range, ascending by key: what ApiVersions lists."""
    return [
        ApiRange(key, api.version_min, api.version_max, api.flexible_from, api.loop) for key, api in sorted(APIS.items())
    ]

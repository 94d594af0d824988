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
AUTHENTICATION = 3  # the queue of SASL and client certificates; its loop is server/authentication_loop


class Api(NamedTuple):
    """One API: both versions inclusive, the first version with compact lengths, and the modules of its handlers.

    A hot API has a module that reactors run (`hot`); a cold API has one with a `handle` for the control plane (`module`);
    Metadata and OffsetCommit, for example, have both. `loop` is where `handle` runs: COORDINATOR for groups and transactions,
    CONTROLLER for those that change the cluster's metadata and wait for its store and for log directories, ADMIN for all others.

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
    throttle_from: int = 0  # the first version whose response has throttle_time_ms
    throttle_at: int = 0  # where: its first byte after the header, or LAST_FIELD
    unstable_version: int = -1  # a version after `version_max` that `unstable.api.versions.enable` offers; -1: there is none
    encoded: bool = False  # the handler gets the encoded body: kio has no such message

    @property
    def version_last(self) -> int:
        """The last version that a handler knows."""
        return max(self.version_max, self.unstable_version)


class ApiRange(NamedTuple):
    """What is advertised of an API and what the network needs to read its header and to forward it."""

    api_key: int
    version_min: int
    version_max: int
    flexible_from: int
    loop: int
    throttle_from: int
    throttled: bool  # the request quota (request_percentage) applies to it
    throttle_at: int


NEVER_FLEXIBLE = NO_THROTTLE = 32767
LAST_FIELD = -4  # throttle_time_ms ends the response, before its tags

# By API key.
APIS: dict[int, Api] = {
    # Produce 0-2 are listed for the feature tests of librdkafka only; they are refused (KAFKA-18659).
    0: Api(0, 13, 9, hot="produce", throttle_from=NO_THROTTLE),
    1: Api(4, 18, 12, hot="fetch"),
    2: Api(1, 11, 6, hot="list_offsets", throttle_from=2),
    3: Api(0, 13, 9, "metadata_cold", hot="metadata", throttle_from=3),
    8: Api(2, 10, 8, "offset_commit_cold", hot="offset_commit", loop=COORDINATOR, throttle_from=3),
    9: Api(1, 10, 6, "offset_fetch", loop=COORDINATOR, throttle_from=3),
    10: Api(0, 6, 3, "find_coordinator", loop=COORDINATOR, throttle_from=1),
    11: Api(0, 9, 6, "join_group", loop=COORDINATOR, throttle_from=2),
    12: Api(0, 4, 4, "heartbeat_cold", hot="heartbeat", loop=COORDINATOR, throttle_from=1),
    13: Api(0, 5, 4, "leave_group", loop=COORDINATOR, throttle_from=1),
    14: Api(0, 5, 4, "sync_group", loop=COORDINATOR, throttle_from=1),
    15: Api(0, 6, 5, "describe_groups", loop=COORDINATOR, throttle_from=1),
    16: Api(0, 5, 3, "list_groups", loop=COORDINATOR, throttle_from=1),
    17: Api(0, 1, NEVER_FLEXIBLE, "sasl_handshake", before_authentication=True, throttle_from=NO_THROTTLE),
    18: Api(0, 4, 3, hot="api_versions", before_authentication=True, throttle_from=NO_THROTTLE),
    19: Api(2, 7, 5, "create_topics", loop=CONTROLLER, controller_only=True),
    20: Api(1, 6, 4, "delete_topics", loop=CONTROLLER, controller_only=True),
    21: Api(0, 2, 2, "delete_records"),
    22: Api(0, 5, 2, "init_producer_id", loop=COORDINATOR, unstable_version=6),
    23: Api(2, 4, 4, hot="offset_for_leader_epoch"),
    24: Api(0, 5, 3, "add_partitions_to_txn", loop=COORDINATOR),
    25: Api(0, 4, 3, "add_offsets_to_txn", loop=COORDINATOR),
    26: Api(0, 5, 3, "end_txn", loop=COORDINATOR),
    27: Api(1, 2, 1, "write_txn_markers", loop=COORDINATOR, cluster_action=True, throttle_from=NO_THROTTLE),
    28: Api(0, 5, 3, "txn_offset_commit", loop=COORDINATOR),
    29: Api(1, 3, 2, "describe_acls"),
    30: Api(1, 3, 2, "create_acls", loop=CONTROLLER),
    31: Api(1, 3, 2, "delete_acls", loop=CONTROLLER),
    32: Api(1, 4, 4, "describe_configs"),
    33: Api(0, 2, 2, "alter_configs", loop=CONTROLLER),
    34: Api(1, 2, 2, "alter_replica_log_dirs", loop=CONTROLLER),
    35: Api(1, 5, 2, "describe_log_dirs"),
    36: Api(0, 2, 2, "sasl_authenticate", before_authentication=True, throttle_from=NO_THROTTLE),
    37: Api(0, 3, 2, "create_partitions", loop=CONTROLLER, controller_only=True),
    38: Api(1, 3, 2, "create_delegation_token", loop=CONTROLLER, throttle_at=LAST_FIELD),
    39: Api(1, 2, 2, "renew_delegation_token", loop=CONTROLLER, throttle_at=LAST_FIELD),
    40: Api(1, 2, 2, "expire_delegation_token", loop=CONTROLLER, throttle_at=LAST_FIELD),
    41: Api(1, 3, 2, "describe_delegation_token", throttle_at=LAST_FIELD),
    42: Api(0, 2, 2, "delete_groups", loop=COORDINATOR),
    43: Api(0, 2, 2, "elect_leaders", loop=CONTROLLER, controller_only=True),
    44: Api(0, 1, 1, "incremental_alter_configs", loop=CONTROLLER),
    45: Api(0, 1, 0, "alter_partition_reassignments", loop=CONTROLLER, controller_only=True),
    46: Api(0, 0, 0, "list_partition_reassignments", controller_only=True),
    47: Api(0, 0, NEVER_FLEXIBLE, "offset_delete", loop=COORDINATOR, throttle_at=2),
    48: Api(0, 1, 1, "describe_client_quotas"),
    49: Api(0, 1, 1, "alter_client_quotas", loop=CONTROLLER),
    50: Api(0, 0, 0, "describe_user_scram_credentials"),
    51: Api(0, 0, 0, "alter_user_scram_credentials", loop=CONTROLLER, controller_only=True),
    55: Api(0, 2, 0, "describe_quorum", loop=CONTROLLER, controller_only=True, throttle_from=NO_THROTTLE),
    57: Api(0, 2, 0, "update_features", loop=CONTROLLER, controller_only=True),
    60: Api(0, 2, 0, "describe_cluster"),
    61: Api(0, 0, 0, "describe_producers"),
    64: Api(0, 0, 0, "unregister_broker", controller_only=True),
    65: Api(0, 0, 0, "describe_transactions", loop=COORDINATOR),
    66: Api(0, 2, 0, "list_transactions", loop=COORDINATOR),
    68: Api(0, 1, 0, "consumer_group_heartbeat_cold", hot="consumer_group_heartbeat", loop=COORDINATOR),
    69: Api(0, 1, 0, "consumer_group_describe", loop=COORDINATOR),
    71: Api(0, 0, 0, "get_telemetry_subscriptions"),
    72: Api(0, 0, 0, "push_telemetry"),
    74: Api(0, 1, 0, "list_config_resources"),
    75: Api(0, 0, 0, "describe_topic_partitions"),
    76: Api(1, 1, 1, "share_group_heartbeat_cold", hot="share_group_heartbeat", loop=COORDINATOR),
    77: Api(1, 1, 1, "share_group_describe", loop=COORDINATOR),
    78: Api(1, 2, 1, "share_fetch_cold", hot="share_fetch", loop=COORDINATOR),
    79: Api(1, 2, 1, "share_acknowledge_cold", hot="share_acknowledge", loop=COORDINATOR),
    80: Api(0, 1, 0, "add_raft_voter", loop=CONTROLLER, controller_only=True),
    81: Api(0, 0, 0, "remove_raft_voter", loop=CONTROLLER, controller_only=True),
    83: Api(0, 0, 0, "initialize_share_group_state", loop=COORDINATOR, cluster_action=True, throttle_from=NO_THROTTLE),
    84: Api(0, 0, 0, "read_share_group_state", loop=COORDINATOR, cluster_action=True, throttle_from=NO_THROTTLE),
    85: Api(0, 1, 0, "write_share_group_state", loop=COORDINATOR, cluster_action=True, throttle_from=NO_THROTTLE),
    86: Api(0, 0, 0, "delete_share_group_state", loop=COORDINATOR, cluster_action=True, throttle_from=NO_THROTTLE),
    87: Api(0, 1, 0, "read_share_group_state_summary", loop=COORDINATOR, cluster_action=True, throttle_from=NO_THROTTLE),
    88: Api(0, 0, 0, "streams_group_heartbeat_cold", hot="streams_group_heartbeat", loop=COORDINATOR),
    89: Api(0, 0, 0, "streams_group_describe", loop=COORDINATOR),
    90: Api(0, 1, 0, "describe_share_group_offsets", loop=COORDINATOR),
    91: Api(0, 0, 0, "alter_share_group_offsets", loop=COORDINATOR),
    92: Api(0, 0, 0, "delete_share_group_offsets", loop=COORDINATOR),
}

COLD_APIS = {api_key: api for api_key, api in APIS.items() if api.module}
HOT_APIS = {api_key: api for api_key, api in APIS.items() if api.hot}

_handlers: dict[tuple[str, int], Handle] = {}  # by module, because an API may have another one in a cluster


def handler(*, api_key: int) -> Callable[[Handler], Handler]:
    """Register the function as the cold handler of an API."""

    def register(function: Handler) -> Handler:
        _handlers[function.__module__, api_key] = function
        return function

    return register


def cold_handler(api_key: int, apis: Mapping[int, Api] = APIS) -> Handle | None:
    """The handler of an API, whose module is imported with the first call. None if there is no such cold API."""
    row = apis.get(api_key)
    if row is None or not row.module:
        return None
    key = (f"kafka_cy.api.{row.module}", api_key)
    if key not in _handlers:
        importlib.import_module(key[0])
    return _handlers[key]


def advertised(apis: Mapping[int, Api] = APIS, *, unstable: bool = False) -> list[ApiRange]:
    """Every API with its range, ascending by key: what ApiVersions lists. `unstable`: with the unstable versions."""
    return [
        ApiRange(
            key,
            api.version_min,
            api.version_last if unstable else api.version_max,
            api.flexible_from,
            api.loop,
            api.throttle_from,
            throttled=not api.cluster_action,
            throttle_at=api.throttle_at,
        )
        for key, api in sorted(apis.items())
    ]

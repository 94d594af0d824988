"""The APIs of a member of a cluster with ZooKeeper: those of `registry`, without those of KRaft, and with those between brokers.

Kafka 3.9 answers the same in ZooKeeper mode. Newer groups (consumer, share, streams) need feature levels, which such a cluster
does not have, and records that Kafka 3.9 could not read. The versions of requests between brokers are not negotiated
(controller/settings).
"""

from __future__ import annotations

from kafka_cy.api.registry import APIS, CONTROLLER, NO_THROTTLE, Api

# DescribeQuorum, UpdateFeatures, UnregisterBroker, the newer groups, client metrics, voters, the state of share groups.
_WITHOUT = {55, 57, 64, 68, 69, 71, 72, 74, 76, 77, 78, 79, 80, 81, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92}


def _between_brokers(version_max: int, flexible_from: int, module: str, version_min: int = 0) -> Api:
    return Api(
        version_min,
        version_max,
        flexible_from,
        module,
        loop=CONTROLLER,
        cluster_action=True,
        throttle_from=NO_THROTTLE,
        encoded=True,
    )


# What the controller or ZooKeeper does, not this broker's own store.
_MODULES = {
    19: "member_topics", 20: "member_topics", 37: "member_topics", 43: "member_partitions", 45: "member_partitions",
    46: "member_partitions", 33: "member_settings", 44: "member_settings", 49: "member_settings", 51: "member_settings",
}  # fmt: skip

# The last versions of Kafka 3.9, where later ones belong to features that such a cluster does not have (transaction.version), or to
# topic ids: Produce, OffsetCommit, OffsetFetch, DescribeGroups, InitProducerId, EndTxn, WriteTxnMarkers, TxnOffsetCommit.
_FIRST_VERSIONS = {27: 0}  # of coordinators with inter.broker.protocol.version below 2.8
_LAST_VERSIONS = {0: 11, 8: 9, 9: 9, 15: 5, 22: 5, 26: 4, 27: 1, 28: 4}


def _of_member(key: int, api: Api) -> Api:
    api = api._replace(version_min=_FIRST_VERSIONS.get(key, api.version_min))
    last = _LAST_VERSIONS.get(key)
    return api if last is None else api._replace(version_max=last, unstable_version=-1)


MEMBER_APIS: dict[int, Api] = {key: _of_member(key, api) for key, api in APIS.items() if key not in _WITHOUT} | {
    10: APIS[10]._replace(module="member_find_coordinator"),
    **{key: APIS[key]._replace(module=module, loop=CONTROLLER) for key, module in _MODULES.items()},
    4: _between_brokers(7, 4, "leader_and_isr"),
    5: _between_brokers(4, 2, "stop_replica"),
    6: _between_brokers(8, 6, "update_metadata"),
    7: _between_brokers(3, 3, "controlled_shutdown", version_min=1)._replace(controller_only=True),
    56: _between_brokers(3, 0, "alter_partition")._replace(controller_only=True),
    67: _between_brokers(0, 0, "allocate_producer_ids")._replace(controller_only=True),
}

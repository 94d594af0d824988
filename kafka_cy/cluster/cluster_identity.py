"""What a broker needs from the tree before it registers: the common nodes, the cluster's id, and perhaps an id of its own."""

from __future__ import annotations

from collections.abc import Callable

from kafka_cy.cluster import znodes
from kafka_cy.cluster.store import Create, Get, NodeExistsError, NoNodeError, OutcomeUnknown, Set, StoreError
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.znode_formats import MALFORMED, cluster_id_data, decode_cluster_id

SEQUENCE_ID = "/brokers/seqid"
#: Nodes that every broker creates when it starts, as Kafka 3.9 does; groups and client-metrics are ours.
COMMON_NODES = (*(path for path in znodes.CONTAINERS if path != "/cluster"), znodes.PRODUCER_ID_BLOCK)


class WrongCluster(StoreError):
    """The log directories belong to another cluster than the one in ZooKeeper."""


async def create_common_nodes(calls: StoreCalls) -> None:
    """Create the nodes without data that every broker expects."""
    await calls.create_missing(COMMON_NODES)


async def find_cluster_id(calls: StoreCalls, stored: str | None, new_id: Callable[[], str]) -> str:
    """The id in /cluster/id; without one, `stored` (of the log directories) or a new id becomes the cluster's.

    Raises WrongCluster if the log directories belong to another cluster, StoreError if the node is malformed.
    """
    while True:
        node = (await calls.read(Get(znodes.CLUSTER_ID)))[0]
        if node is not None:
            break
        data = cluster_id_data(stored if stored is not None else new_id())
        try:
            await calls.create_missing(["/cluster"])
            await calls.change(Create(znodes.CLUSTER_ID, data))
        except (NodeExistsError, OutcomeUnknown):
            continue
    try:
        cluster_id = decode_cluster_id(node.data)
    except MALFORMED as error:
        raise StoreError(f"{znodes.CLUSTER_ID} is malformed: {error!r}") from error
    if stored is not None and stored != cluster_id:
        raise WrongCluster(
            f"the cluster in ZooKeeper has the id {cluster_id}, but the log directories belong to {stored} (meta.properties);"
            " zookeeper.connect may be wrong"
        )
    return cluster_id


async def generate_broker_id(calls: StoreCalls, reserved_broker_max_id: int) -> int:
    """An id above reserved.broker.max.id that no broker of this cluster has had (broker.id=-1). A lost reply costs an id."""
    while True:
        try:
            (version,) = await calls.change(Set(SEQUENCE_ID, b""))
        except NoNodeError:
            await calls.create_missing([SEQUENCE_ID])
        except OutcomeUnknown:
            continue
        else:
            assert isinstance(version, int)
            return reserved_broker_max_id + version

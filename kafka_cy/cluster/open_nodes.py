"""Says at the start which credentials in ZooKeeper everybody can use who reaches it, and ACLs that everybody can change."""

from __future__ import annotations

from typing import Final

from kafka_cy.cluster import znodes
from kafka_cy.cluster.acl_formats import ACL_ROOTS, TYPE_NAMES
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import Children, Rights
from kafka_cy.cluster.store_calls import StoreCalls

TOKENS: Final = "/delegation_token/tokens"
ACLS: Final = "/kafka-acl"
#: Who may create nodes below these makes users, tokens and ACLs of their own.
PARENTS: Final = (
    "/config/users", "/config/brokers", TOKENS, "/kafka-acl-extended",
    *(f"{root}/{name}" for root in ACL_ROOTS.values() for name in TYPE_NAMES.values()),
)  # fmt: skip
REMEDY: Final = "zookeeper.set.acl=true for new nodes, Kafka's zookeeper-security-migration for those that exist"


async def warn_of_open_nodes(calls: StoreCalls, cache: MetadataCache, log: LineLog, *, sets_acls: bool) -> None:
    """Write one warning with a node of each kind: a user with SCRAM, a delegation token, and the ACLs. Raises StoreError.

    `sets_acls` (zookeeper.set.acl): also the nodes above them that everybody may change, as they may be older than that setting.
    """
    users = (name for name in cache.config_entities("users") if any("SCRAM-" in key for key in cache.config("users", name)))
    user = next(users, None)
    tokens = (await calls.read(Children(TOKENS)))[0]
    secrets = [f"/config/{znodes.config_entity('users', user)}"] if user is not None else []
    if tokens:
        secrets.append(f"{TOKENS}/{tokens[0]}")
    paths = [*secrets, ACLS, *(PARENTS if sets_acls else ())]
    rights: list[list[str] | None] = await calls.read(*[Rights(path) for path in paths])
    found = []
    for path, words in zip(paths, rights, strict=True):
        said = [word for word in words or () if word != "read" or path in secrets]  # names and ACLs are no secret
        if said:
            found.append(f"{path} ({', '.join(said)})")
    if found:
        nodes = "; ".join(found)
        log.warning("who reaches ZooKeeper needs no login for credentials and ACLs there", nodes=nodes, remedy=REMEDY)

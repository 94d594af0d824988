"""Says at the start which credentials in ZooKeeper everybody can use who reaches it, and ACLs that everybody can change."""

from __future__ import annotations

from typing import Final

from kafka_cy.cluster import znodes
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import Children, Rights
from kafka_cy.cluster.store_calls import StoreCalls

TOKENS: Final = "/delegation_token/tokens"
ACLS: Final = "/kafka-acl"


async def warn_of_open_nodes(calls: StoreCalls, cache: MetadataCache, log: LineLog) -> None:
    """Write one warning with a node of each kind: a user with SCRAM, a delegation token, and the ACLs. Raises StoreError."""
    users = (name for name in cache.config_entities("users") if any("SCRAM-" in key for key in cache.config("users", name)))
    user = next(users, None)
    tokens = (await calls.read(Children(TOKENS)))[0]
    paths = [f"/config/{znodes.config_entity('users', user)}"] if user is not None else []
    if tokens:
        paths.append(f"{TOKENS}/{tokens[0]}")
    rights: list[list[str] | None] = await calls.read(*[Rights(path) for path in (*paths, ACLS)])
    found = [f"{path} ({', '.join(words)})" for path, words in zip(paths, rights, strict=False) if words]
    of_acls = [word for word in rights[-1] or () if word != "read"]  # they are no secret
    if of_acls:
        found.append(f"{ACLS} ({', '.join(of_acls)})")
    if found:
        log.warning("who reaches ZooKeeper needs no login for credentials and ACLs there", nodes="; ".join(found))

"""Converts KRaft metadata to nodes of our tree, as ZooKeeper-mode Kafka would have stored the same settings.

imported_folders handles topics. Messages never contain values, because some are secrets.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kafka_cy.cluster import znodes
from kafka_cy.cluster.acl_formats import ACL_ROOTS, OPERATION_NAMES, PERMISSION_NAMES, TYPE_NAMES
from kafka_cy.cluster.kraft_metadata import Acl, KraftMetadata
from kafka_cy.cluster.quota_entities import QuotaEntity, entity_of, stored_at, value_text
from kafka_cy.cluster.scram_credentials import MECHANISMS, credential_text

DEFAULT: Final = "<default>"  # entity name of the default for all
BROKER, CLIENT_METRICS, GROUP = 4, 16, 32  # ConfigResource.Type
_CONFIG_TYPES: Final = {CLIENT_METRICS: "client-metrics", GROUP: "groups"}


class SettingNodes(NamedTuple):
    """`nodes`: data by path. `taken`, `left_out`: one text per setting, for the operator."""

    nodes: dict[str, bytes]
    taken: list[str]
    left_out: list[str]


def setting_nodes(metadata: KraftMetadata, broker_id: int) -> SettingNodes:
    """Settings of brokers, groups, client metrics, users, clients and addresses; ACLs."""
    result = SettingNodes({}, [], [])
    _add_configs(metadata, broker_id, result)
    _add_users_and_quotas(metadata, result)
    _add_acls(metadata, result)
    if metadata.delegation_tokens:
        result.left_out.append(f"{len(metadata.delegation_tokens)} delegation tokens: clients have to get new ones")
    for name, count in sorted(metadata.not_understood.items()):
        result.left_out.append(f"{count} of {name}: this version of kafka-cy does not know them")
    return result


def _add_configs(metadata: KraftMetadata, broker_id: int, result: SettingNodes) -> None:
    for (resource_type, name), settings in sorted(metadata.configs.items()):
        if not settings or resource_type == 2:
            continue
        if resource_type == BROKER and name in ("", str(broker_id)):
            entity = znodes.config_entity("brokers", name or DEFAULT)
        elif resource_type in _CONFIG_TYPES:
            entity = znodes.config_entity(_CONFIG_TYPES[resource_type], name)
        else:
            kind = "broker" if resource_type == BROKER else f"resource type {resource_type}"
            result.left_out.append(f"settings of {kind} {name}: {', '.join(sorted(settings))}")
            continue
        result.nodes[f"/config/{entity}"] = znodes.config_data(settings)
        result.taken.append(f"settings of {entity}: {', '.join(sorted(settings))}")


def _add_users_and_quotas(metadata: KraftMetadata, result: SettingNodes) -> None:
    configs: dict[str, dict[str, str]] = {}
    for (user, number), credential in sorted(metadata.scram.items()):
        if number not in MECHANISMS:
            result.left_out.append(f"a credential of user {user} for mechanism {number}")
            continue
        entity = znodes.config_entity("users", znodes.sanitize(user))
        configs.setdefault(entity, {})[MECHANISMS[number][0]] = credential_text(credential)
    for parts, quotas in metadata.quotas.items():
        quota_entity = _quota_entity(parts)
        if quota_entity is None:
            result.left_out.append(f"quotas of {parts}: {', '.join(sorted(quotas))}")
        elif quotas:
            texts = {key: value_text(key, value) for key, value in quotas.items()}
            configs.setdefault(quota_entity, {}).update(texts)
    for entity, settings in sorted(configs.items()):
        result.nodes[f"/config/{entity}"] = znodes.config_data(settings)
        result.taken.append(f"settings of {entity}: {', '.join(sorted(settings))}")


def _quota_entity(parts: QuotaEntity) -> str | None:
    """users/U, clients/C, users/U/clients/C or ips/I; None for any other combination."""
    entity = entity_of(dict(parts))
    return None if entity is None else znodes.config_entity(*stored_at(entity))


def _add_acls(metadata: KraftMetadata, result: SettingNodes) -> None:
    by_path: dict[str, list[dict[str, str]]] = {}
    for acl in sorted(metadata.acls.values()):
        path, entry = _acl_path(acl), _acl_entry(acl)
        if path is None or entry is None:
            result.left_out.append(f"an ACL for {acl.principal} on {acl.resource_name!r}: it has no place in the tree")
        elif entry not in by_path.setdefault(path, []):
            by_path[path].append(entry)
    for path, entries in sorted(by_path.items()):
        result.nodes[path] = znodes.to_json({"version": 1, "acls": entries})
        result.taken.append(f"{path}: {len(entries)} ACL{'s' if len(entries) > 1 else ''}")


def _acl_path(acl: Acl) -> str | None:
    folder, kind = ACL_ROOTS.get(acl.pattern_type), TYPE_NAMES.get(acl.resource_type)
    if folder is None or kind is None or not acl.resource_name or "/" in acl.resource_name:
        return None  # ZooKeeper-mode Kafka refuses such names, too
    return f"{folder}/{kind}/{acl.resource_name}"


def _acl_entry(acl: Acl) -> dict[str, str] | None:
    operation, permission = OPERATION_NAMES.get(acl.operation), PERMISSION_NAMES.get(acl.permission_type)
    if operation is None or permission is None:
        return None
    return {"principal": acl.principal, "permissionType": permission, "operation": operation, "host": acl.host}

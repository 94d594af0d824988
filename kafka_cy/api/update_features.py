"""UpdateFeatures (API 57, KIP-584): sets finalized feature levels. All of a request take effect, or none.

Replicas are eligible as leaders by one min.insync.replicas for the cluster (KIP-966). With that feature the cluster gets the
value of the file, unless it has one, and brokers lose theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.change_lines import changed_settings_of, log_each
from kafka_cy.api.config_alterations import MIN_INSYNC_REPLICAS
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.feature_changes import SAFE_DOWNGRADE, UPGRADE, FeatureRefused, FeatureUpdate
from kafka_cy.cluster.features import ELIGIBLE_LEADER_REPLICAS
from kafka_cy.config import definitions
from kafka_cy.config.dynamic import CLUSTER_DEFAULT
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kio.schema.update_features.v0.request import FeatureUpdateKey as FeatureUpdateKeyV0
    from kio.schema.update_features.v2.request import FeatureUpdateKey, UpdateFeaturesRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesFeatures

REFUSED = "The update failed for all features since the following feature had an error: "


@handler(api_key=57)
def handle(request: Request[UpdateFeaturesRequest], context: ChangesFeatures) -> dict[str, Any]:
    """The first level that is refused is the answer. A feature that is named twice gets its last level, as in Kafka."""
    if not may_cluster(request, Operation.ALTER):
        return denied(CLUSTER_DENIED) | {"results": []}
    updates = {update.feature: _update(request.api_version, update) for update in request.body.feature_updates}
    validate_only = request.api_version >= 1 and bool(request.body.validate_only)
    before = context.cluster.features
    settings = _settings_with(updates, context)
    settings_before = {name: context.cluster.config("brokers", name) for name in settings}
    try:
        context.feature_changes.update(updates, validate_only=validate_only, settings=settings)
    except FeatureRefused as refused:
        return {"error_code": ErrorCode.INVALID_UPDATE_VERSION, "error_message": REFUSED + str(refused), "results": []}
    finally:
        if context.cluster.features is not before:  # all is stored, also if a listener has failed
            changed = [
                {"feature": name, "before": before.levels.get(name, 0), "after": update.level}
                for name, update in updates.items()
                if before.levels.get(name, 0) != update.level
            ]
            log_each(context.log, "feature level changed", changed, request.sender)
            replaced = [
                changed_settings_of("brokers", name.strip("<>"), settings_before[name], values, set())
                for name, values in settings.items()
            ]
            log_each(context.log, "configuration changed", replaced, request.sender)
    results = [{"feature": name, "error_code": ErrorCode.NONE, "error_message": "NONE"} for name in updates]
    return {"error_code": ErrorCode.NONE, "error_message": None, "results": results}


def _settings_with(updates: Mapping[str, FeatureUpdate], context: ChangesFeatures) -> dict[str, dict[str, str]]:
    """The settings that the updates replace, by the name of the broker."""
    eligible = updates.get(ELIGIBLE_LEADER_REPLICAS)
    if eligible is None or eligible.level <= 0:
        return {}
    cluster, settings = context.cluster, {}
    default = cluster.config("brokers", CLUSTER_DEFAULT)
    if MIN_INSYNC_REPLICAS not in default:
        key = definitions.broker_key(MIN_INSYNC_REPLICAS)
        assert key is not None
        settings[CLUSTER_DEFAULT] = {
            **default, MIN_INSYNC_REPLICAS: str(context.config.static.get(MIN_INSYNC_REPLICAS, key.default))
        }  # fmt: skip
    for name in cluster.config_entities("brokers"):
        values = cluster.config("brokers", name)
        if name != CLUSTER_DEFAULT and values.pop(MIN_INSYNC_REPLICAS, None) is not None:
            settings[name] = values
    return settings


def _update(version: int, update: FeatureUpdateKey) -> FeatureUpdate:
    if version == 0:
        downgrades = cast("FeatureUpdateKeyV0", update).allow_downgrade
        return FeatureUpdate(update.max_version_level, SAFE_DOWNGRADE if downgrades else UPGRADE)
    return FeatureUpdate(update.max_version_level, update.upgrade_type)

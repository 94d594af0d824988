"""Whether the cluster has share groups: finalized feature `share.version` (KIP-932). Without it they get UNSUPPORTED_VERSION."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafka_cy.api.roles import ReadsCluster

SHARE_VERSION = "share.version"


def has_share_groups(context: ReadsCluster) -> bool:
    """Whether `share.version` is at least 1."""
    return context.cluster.features.levels.get(SHARE_VERSION, 0) >= 1

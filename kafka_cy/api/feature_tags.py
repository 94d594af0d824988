"""The tagged fields of an ApiVersions response with the features: tag 0 supported, tag 1 epoch, tag 2 finalized (KIP-584)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from kafka_cy.api import api_versions
from kafka_cy.cluster.features import FinalizedFeatures
from kafka_cy.cluster.metadata_cache import Change, FeaturesChanged, MetadataCache

# Kafka 4.3.1 lists finalized features in this order.
FINALIZED_ORDER = (
    "group.version",
    "kraft.version",
    "share.version",
    "metadata.version",
    "streams.version",
    "transaction.version",
    "eligible.leader.replicas.version",
)


def feature_tags(version: int, supported: Mapping[str, tuple[int, int]], finalized: FinalizedFeatures) -> bytes:
    """The section of tagged fields. Version 3 leaves out supported features whose lowest level is 0: old clients refuse them."""
    listed = [(name, *levels) for name, levels in supported.items() if version >= 4 or levels[0] > 0]
    levels = finalized.levels
    final = [(name, levels[name], levels[name]) for name in FINALIZED_ORDER if name in levels]
    fields = (_array(listed), struct.pack(">q", finalized.epoch), _array(final))
    return _uvarint(len(fields)) + b"".join(
        _uvarint(tag) + _uvarint(len(field)) + field for tag, field in enumerate(fields)
    )


def _array(rows: list[tuple[str, int, int]]) -> bytes:
    encoded = [_uvarint(len(name) + 1) + name.encode() + struct.pack(">hh", first, second) + b"\0" for name, first, second in rows]
    return _uvarint(len(encoded) + 1) + b"".join(encoded)


def _uvarint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def publish_features(supported: Mapping[str, tuple[int, int]], cluster: MetadataCache) -> None:
    """Make ApiVersions tell the features from now on, and every change of them as soon as it is durable."""

    def publish() -> None:
        api_versions.set_features(*(feature_tags(version, supported, cluster.features) for version in (3, 4)))

    def changed(change: Change) -> None:
        if isinstance(change, FeaturesChanged):
            publish()

    publish()
    cluster.add_listener(changed)

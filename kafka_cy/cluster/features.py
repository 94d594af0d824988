"""The features of Kafka 4.3 (KIP-584): which levels this broker supports, and the levels that the cluster has (finalized levels).

Clients look at the finalized levels before they use a protocol: a producer uses transactions of version 2 (KIP-890), and a
consumer its new group protocol (KIP-848), only if the cluster has the level. So a level is supported only if the APIs that it
promises are served.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final, NamedTuple

METADATA_VERSION: Final = "metadata.version"
KRAFT_VERSION: Final = "kraft.version"
ELIGIBLE_LEADER_REPLICAS: Final = "eligible.leader.replicas.version"


# By level, from 7 on.
METADATA_VERSIONS: Final = (
    "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1", "3.7-IV2",
    "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0",
    "4.2-IV1", "4.3-IV0",
)  # fmt: skip
METADATA_VERSION_MIN: Final = 7
CORDON_LEVEL_MIN: Final = 30  # of metadata.version, 4.3-IV0: brokers tell the controller their cordoned log directories
#: Levels of metadata.version that store more than the level below: a downgrade below them might lose it.
METADATA_CHANGES: Final = frozenset({8, 11, 13, 14, 15, 17, 23, 30})


class Feature(NamedTuple):
    """The levels that Kafka 4.3.1 supports. `api_key`: without this API only level 0 is supported; None: always.

    `since`: the level of metadata.version from which on a new cluster has the highest level, below that the lowest.
    """

    name: str
    level_min: int
    level_max: int
    since: int
    api_key: int | None = None


class FinalizedFeatures(NamedTuple):
    """Level by feature name, 0 left out. Clients believe the answer with the highest epoch."""

    levels: Mapping[str, int]
    epoch: int


# In the order in which Kafka 4.3.1 lists supported features.
FEATURES: Final = (
    Feature("group.version", 0, 1, 22, 68),
    Feature(KRAFT_VERSION, 0, 1, 21),
    Feature(METADATA_VERSION, METADATA_VERSION_MIN, 30, 0),
    Feature("share.version", 0, 1, 28, 76),
    Feature("streams.version", 0, 1, 29, 88),
    Feature("transaction.version", 0, 2, 24, 26),
    Feature(ELIGIBLE_LEADER_REPLICAS, 0, 1, 26),
)


def supported_features(api_keys: Container[int]) -> dict[str, tuple[int, int]]:
    """Lowest and highest level by feature name, for a broker that serves these APIs."""
    return {
        feature.name: (
            feature.level_min,
            feature.level_max if feature.api_key is None or feature.api_key in api_keys else feature.level_min,
        )
        for feature in FEATURES
    }


def initial_levels(supported: Mapping[str, tuple[int, int]], chosen: Mapping[str, int]) -> dict[str, int]:
    """The levels of a new cluster, as Kafka formats it: everything at the newest level, or at the level that goes with the
    metadata.version in `chosen`; then the others in `chosen`. Raises ValueError for what is not supported."""
    for name, level in chosen.items():
        if name not in supported:
            raise ValueError(f"there is no feature {name}")
        level_min, level_max = supported[name]
        if not level_min <= level <= level_max:
            raise ValueError(f"{name} has levels {level_min} to {level_max}")
    metadata_level = chosen.get(METADATA_VERSION, supported[METADATA_VERSION][1])
    levels = {each.name: supported[each.name][metadata_level >= each.since] for each in FEATURES}
    return {**levels, METADATA_VERSION: metadata_level, **chosen}


def read_levels(text: str) -> dict[str, int]:
    """Read "name=level,name=level"; a metadata.version may be written as "4.2-IV0". Raises ValueError."""
    levels = {}
    for each in filter(None, (part.strip() for part in text.split(","))):
        name, _, level = each.partition("=")
        if name == METADATA_VERSION and level in METADATA_VERSIONS:
            levels[name] = METADATA_VERSION_MIN + METADATA_VERSIONS.index(level)
        else:
            levels[name] = int(level)
    return levels

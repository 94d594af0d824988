"""Changes finalized feature levels: checks them as Kafka's FeatureControlManager does, stores them, then updates the cache.

The levels are in the node `/feature`, in Kafka's format (FeatureZNode): {"version": 2, "status": 1, "features": {name: level}}.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kafka_cy.cluster import znodes
from kafka_cy.cluster.config_changes import ConfigChanges
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.features import KRAFT_VERSION, METADATA_CHANGES, METADATA_VERSION, FinalizedFeatures
from kafka_cy.cluster.metadata_cache import FeaturesChanged, MetadataCache
from kafka_cy.cluster.store import MetadataStore, Set, StoreError

UPGRADE: Final = 1
SAFE_DOWNGRADE: Final = 2
UNSAFE_DOWNGRADE: Final = 3


class FeatureRefused(Exception):
    """A level cannot be set; the message is Kafka's."""


class FeatureUpdate(NamedTuple):
    """The level that is asked for, and one of the upgrade types above."""

    level: int
    upgrade_type: int


class FeatureChanges:
    """Owner: the controller's thread."""

    def __init__(
        self,
        store: MetadataStore,
        cache: MetadataCache,
        controller: Controller,
        config_changes: ConfigChanges,
        supported: Mapping[str, tuple[int, int]],
        initial: Mapping[str, int],  # levels of a tree that has none
    ) -> None:
        self._store = store
        self._cache = cache
        self._controller = controller
        self._config_changes = config_changes
        self.supported = supported
        self._initial = initial
        self._levels: dict[str, int] = {}  # as they are stored, also those that only a later version supports

    def load(self) -> None:
        """Read the levels into the cache. A tree without levels is of an earlier version, which told clients none: it gets those of
        a new cluster. Raises StoreError, or ValueError for data that is not valid."""
        node = self._store.get(znodes.FEATURE)
        levels = znodes.from_json(node.data).get("features") or {}
        version = node.version
        if not levels:
            levels = dict(self._initial)
            (_, stored) = self._store.multi([self._controller.fence(), Set(znodes.FEATURE, znodes.feature_data(levels), version)])
            version = int(stored or 0)
        self._levels = {name: int(level) for name, level in levels.items()}
        self._cache.features = FinalizedFeatures(self._known(levels), version)

    def _known(self, levels: Mapping[str, int]) -> dict[str, int]:
        """What clients are told of stored levels: no level that this broker does not support."""
        told = {}
        for name, (level_min, level_max) in self.supported.items():
            level = min(max(int(levels.get(name, 0)), level_min), level_max)
            if level > 0:
                told[name] = level
        return told

    def update(
        self,
        updates: Mapping[str, FeatureUpdate],
        *,
        validate_only: bool,
        settings: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        """Set all these levels, or none; others stay as they are stored. Raises FeatureRefused, StoreError.

        `settings` replace those of brokers, by name, in the same transaction.
        """
        for name, update in updates.items():
            self._check(name, update)
        levels = {**self._levels, **{name: update.level for name, update in updates.items()}}
        if validate_only or not updates:
            return
        version: int | None = None
        fault: Exception | None = None
        try:
            with self._config_changes.batch():
                stored = self._store.multi([self._controller.fence(), Set(znodes.FEATURE, znodes.feature_data(levels))])[1]
                version = int(stored or 0)
                for name, values in settings.items():
                    self._config_changes.set_config("brokers", name, values)
        except StoreError:
            raise
        except Exception as error:  # a listener of the settings: all is stored
            if version is None:
                raise
            fault = error
        self._take(levels, version or 0)
        if fault is not None:
            raise fault

    def _take(self, levels: dict[str, int], version: int) -> None:
        """Readers see stored levels from now on."""
        self._levels = levels
        self._cache.features = FinalizedFeatures(self._known(levels), version)
        self._cache.announce(FeaturesChanged(self._cache.features))

    def _check(self, name: str, update: FeatureUpdate) -> None:
        current = self._cache.features.levels.get(name, 0)
        refusal = self._why_not(name, update, current)
        if refusal is not None:
            raise FeatureRefused(f"Invalid update version {update.level} for feature {name}. {refusal}")
        if name == METADATA_VERSION and METADATA_CHANGES.intersection(range(update.level + 1, current + 1)):
            self._refuse_metadata_downgrade(update, current)

    def _why_not(self, name: str, update: FeatureUpdate, current: int) -> str | None:
        level, kind = update
        controller = f"Local controller {self._cache.broker_id}"
        if kind not in (UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE):
            return "The controller does not support the given upgrade type."
        if level < 0:
            return "A feature version cannot be less than 0."
        if name not in self.supported:
            return f"{controller} does not support this feature."
        level_min, level_max = self.supported[name]
        if not level_min <= level <= level_max:
            return f"{controller} only supports versions {level_min}-{level_max}"
        if level < current and kind == UPGRADE:
            return (
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe"
                " downgrade."
            )
        if level > current and kind != UPGRADE:
            return "Can't downgrade to a newer version."
        if name == KRAFT_VERSION and level < current:
            return "Can't downgrade the version of this feature."
        return None

    @staticmethod
    def _refuse_metadata_downgrade(update: FeatureUpdate, current: int) -> None:
        """The level stores less than the current one."""
        if update.upgrade_type == UNSAFE_DOWNGRADE:
            reason = "Unsafe metadata downgrade is not supported in this version."
        else:
            reason = "Refusing to perform the requested downgrade because it might delete metadata information."
        raise FeatureRefused(f"Unsupported metadata.version downgrade from {current} to {update.level}. {reason}")

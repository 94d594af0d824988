"""Cordoned log directories (KIP-1066): the broker creates no partitions in them, and moves none to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.cluster.features import CORDON_LEVEL_MIN, METADATA_VERSION

if TYPE_CHECKING:
    from kafka_cy.cluster.metadata_cache import MetadataCache
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.server.log import BrokerLog
    from kafka_cy.storage.log_manager import LogManager


class CordonedDirs:
    """Applies `cordoned.log.dirs` to the logs and to the placement of new partitions. Owner: the controller's thread."""

    def __init__(self, config: BrokerConfig, cluster: MetadataCache, logs: LogManager, log: BrokerLog) -> None:
        self._config = config
        self._cluster = cluster
        self._logs = logs
        self._log = log

    def start(self) -> None:
        """Apply the configuration now and after every change. The dynamic settings are loaded, the logs not opened yet."""
        self._apply(frozenset({"cordoned.log.dirs"}))
        self._config.add_change_listener(self._apply)
        self._cluster.has_usable_dirs = self._has_usable_dirs

    def _apply(self, names: Any) -> None:
        if "cordoned.log.dirs" not in names:
            return
        before, cordoned = self._logs.cordoned_dirs, self._config.cordoned_log_dirs
        self._logs.cordoned_dirs = cordoned
        if cordoned != before:
            self._log.info("cordoned log directories", directories=",".join(sorted(cordoned)) or "none")

    def _has_usable_dirs(self) -> bool:
        """Whether partitions without a manual assignment may be created here. The controller of older clusters does not ask."""
        if self._cluster.features.levels.get(METADATA_VERSION, 0) < CORDON_LEVEL_MIN:
            return True
        return not self._logs.cordoned_dirs.issuperset(set(self._logs.log_dirs) - self._logs.offline_dirs)

"""Applies stored settings to the running broker: dynamic broker settings to BrokerConfig, topic settings to the logs."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from kafka_cy.base.slices import Slices
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.metadata_cache import ConfigChanged, MetadataCache
from kafka_cy.cluster.topics import Topic
from kafka_cy.config import definitions
from kafka_cy.config.broker_config import BROKER_KEYS_OF_LOGS, BrokerConfig
from kafka_cy.config.dynamic import CLUSTER_DEFAULT
from kafka_cy.server.connection_limits import ConnectionLimits, are_limited_by
from kafka_cy.server.topic_settings import usable_settings

#: Broker keys used by the logs. A change reaches the logs of all topics in slices (AppliedConfig._catch_up).
LOG_KEYS: Final = frozenset(BROKER_KEYS_OF_LOGS).union(
    *(definitions.broker_synonyms(synonym) for synonym in definitions.TOPIC_BROKER_SYNONYMS.values())
)
CLEANER_KEYS: Final = (
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.threads",
)


SLOW_REQUESTS: Final = "kafkacy.slow.request.log.threshold.ms"
PARTITION_VERIFICATION: Final = "transaction.partition.verification.enable"


def cleaner_config(config: BrokerConfig) -> dict[str, Any] | None:
    """Return the log cleaner's settings, or None with log.cleaner.enable=false."""
    return {name: config[name] for name in CLEANER_KEYS} if config["log.cleaner.enable"] else None


def set_background_threads(config: BrokerConfig) -> None:
    """Tell the storage how many threads flush logs."""
    from kafka_cy.storage import background

    background.set_threads(config.background_threads())


def set_partition_verification(config: BrokerConfig) -> None:
    """Tell Produce whether it verifies that partitions were added to the transaction."""
    from kafka_cy.api import produce_transaction

    produce_transaction.set_partition_verification(bool(config[PARTITION_VERIFICATION]))


class AppliedConfig:
    """Listens to MetadataCache. Owner: the controller's thread."""

    def __init__(
        self,
        config: BrokerConfig,
        cluster: MetadataCache,
        logs: Any,
        log: LineLog,
        server: Any = None,
        connection_limits: ConnectionLimits | None = None,
        slices: Slices | None = None,
    ) -> None:
        """`logs` is the LogManager, or None before it exists; `server` is the network's Server, not started yet.

        With `slices`, a change that concerns all topics reaches their logs in slices, after the response to the client (as in
        Kafka, where it reaches the brokers later). So do replication throttles and a new cleanup.policy=compact, which each
        partition of the topic is told. Other changes are in force before.
        """
        self.slices = slices
        self._behind: set[str] = set()  # topics whose logs lack the broker's new settings, or whose partitions were not told
        self._catching_up = False
        self.connection_limits = connection_limits
        self.config = config
        self.cluster = cluster
        self.logs = logs
        self._log = log
        self.server = server

    def start(self) -> None:
        """Load the dynamic broker settings from the store and listen for changes.

        Call this after the metadata is loaded and before the logs are opened, so that they open with the stored settings.
        """
        self._take_broker_settings()
        if self.connection_limits is not None and (self.config.dynamic_broker or self.config.dynamic_default):
            # The network was configured before the store could be read.
            self.connection_limits.apply(self.config)
        set_background_threads(self.config)
        self.config.add_change_listener(self._broker_settings_changed)
        self.cluster.add_listener(self._changed)

    def _changed(self, change: Any) -> None:
        if not isinstance(change, ConfigChanged):
            return
        if change.entity_type == "brokers":
            self._take_broker_settings()
        elif change.entity_type == "topics" and change.entity_name in self.cluster.topics:
            self._apply_topic(change.entity_name)

    def _take_broker_settings(self) -> None:
        self.config.take_stored(
            broker=self.cluster.config("brokers", str(self.config.broker_id)),
            cluster_default=self.cluster.config("brokers", CLUSTER_DEFAULT),
        )

    def _broker_settings_changed(self, names: frozenset[str]) -> None:
        if self.connection_limits is not None and are_limited_by(names):
            self.connection_limits.apply(self.config)
        if SLOW_REQUESTS in names and self.server is not None:
            self.server.set_slow_request_threshold_ms(self.config[SLOW_REQUESTS])
        if "background.threads" in names:
            set_background_threads(self.config)
        if PARTITION_VERIFICATION in names:
            set_partition_verification(self.config)
        if names & frozenset(CLEANER_KEYS) and self.logs is not None:
            self.logs.configure_cleaner(cleaner_config(self.config))
        if names & LOG_KEYS:
            self._fall_behind(self.cluster.topics)

    def _fall_behind(self, topics: Iterable[str]) -> None:
        """Let the logs and the partitions of these topics catch up. However many changes there are, one task does it."""
        self._behind.update(topics)
        if self.slices is None:
            for _ in self._catch_up():
                pass
        elif not self._catching_up:
            self._catching_up = True
            self.slices.add(self._catch_up(), self._caught_up)

    def _catch_up(self) -> Iterator[None]:
        """Apply the settings to the topics that are behind; a change meanwhile makes them behind again."""
        while self._behind and self.logs is not None:
            topic = self.cluster.topics.get(self._behind.pop())
            if topic is not None:
                config = self._usable_settings(topic)
                if config is not None:
                    yield from self.logs.set_config_in_steps(topic.name, config, len(topic.partitions))
            yield

    def _caught_up(self) -> None:
        self._catching_up = False

    def _apply_topic(self, name: str) -> None:
        if self.logs is not None:
            config = self._usable_settings(self.cluster.topics[name])
            if config is not None:
                must_tell = self.logs.take_config(name, config)
                if must_tell:
                    self._fall_behind([name])

    def _usable_settings(self, topic: Topic) -> dict[str, Any] | None:
        return usable_settings(self.config, topic.name, topic.config, self._log)

"""Topics that a member of a cluster creates on demand: for Metadata, and for the state of its coordinators.

As in Kafka with ZooKeeper, the broker that needs the topic writes it, and the client asks again until it has leaders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_lines import created_topic, log_each
from kafka_cy.api.topic_creation import TopicRefused, automatic_assignment, check_name
from kafka_cy.cluster.internal_topics import KEY_PREFIXES, internal_topic_configs
from kafka_cy.cluster.member_cache import NO_ID
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.topic_writer import write_topic
from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.cluster.znodes import new_id
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.cluster.member_cache import MemberCache
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.server.log import BrokerLog


class _Planned(NamedTuple):
    name: str
    assignment: list[list[int]]
    configs: dict[str, str]


class MemberTopicMaker:
    """Owner: the controller's thread. Names come from clients; `sender` says which one, for the log."""

    def __init__(
        self,
        cache: MemberCache,
        config: BrokerConfig,
        log: BrokerLog,
        calls: Callable[[], StoreCalls],
        *,
        gives_ids: bool,
    ) -> None:
        """`gives_ids`: topics have ids (inter.broker.protocol.version)."""
        self._gives_ids = gives_ids
        self._cache, self._config, self._log, self._calls = cache, config, log, calls
        self._writing: set[str] = set()

    def create(self, names: Sequence[str], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        """Create these topics as far as possible, then call `done`."""
        planned = self._plan(names, sender)
        if not planned:
            done()
            return
        self._writing.update(each.name for each in planned)

        def ended(created: list[Topic] | None, fault: Exception | None) -> None:
            self._writing.difference_update(each.name for each in planned)
            if fault is not None:
                self._log.repeated("warning", "topics cannot be created automatically", {"reason": repr(fault), **sender})
            log_each(self._log, "topic created automatically", [created_topic(each) for each in created or ()], sender)
            done()

        run(self._write(self._calls(), planned), ended)

    def _plan(self, names: Sequence[str], sender: Mapping[str, str]) -> list[_Planned]:
        planned: list[_Planned] = []
        reason: str | None = None
        try:
            if len(names) > 1 and len(names) * (1 + int(self._config["num.partitions"])) > RECORDS_PER_REQUEST_MAX:
                raise TopicRefused(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)
            for name in dict.fromkeys(names):
                if name not in self._cache.topics and name not in self._writing:
                    try:
                        planned.append(self._planned(name))
                    except TopicRefused as refused:  # the response to the client says why
                        if name in KEY_PREFIXES:
                            reason = f"{name}: {refused.message}"
        except TopicRefused as refused:
            reason = refused.message
        if reason is not None:
            details = {"topics": len(names), "reason": reason, **sender}
            self._log.repeated("warning", "topics are not created automatically", details, sender["client"])
        return planned

    def _planned(self, name: str) -> _Planned:
        """Raises TopicRefused. An internal topic gets as many replicas as are configured, or waits for more brokers."""
        config: Any = self._config
        prefix = KEY_PREFIXES.get(name)
        if prefix is not None:
            replication = int(config[f"{prefix}.replication.factor"])
            assignment = automatic_assignment(self._cache, int(config[f"{prefix}.num.partitions"]), replication)
            return _Planned(name, assignment, internal_topic_configs(config, name, replication))
        check_name(self._cache, name)
        replication = int(config["default.replication.factor"])
        return _Planned(name, automatic_assignment(self._cache, int(config["num.partitions"]), replication), {})

    async def _write(self, calls: StoreCalls, planned: Sequence[_Planned]) -> list[Topic]:
        created = []
        for name, assignment, configs in planned:
            topic_id = new_id() if self._gives_ids else None
            if await write_topic(calls, name, topic_id, assignment, configs):
                partitions = [PartitionMetadata(i, -1, 0, list(each), []) for i, each in enumerate(assignment)]
                created.append(Topic(name, topic_id or NO_ID, partitions, configs))
        return created

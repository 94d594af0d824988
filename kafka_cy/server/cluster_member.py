"""A member of a cluster (zookeeper.connect): registered in ZooKeeper, told by the controller, perhaps the controller itself.

The controller's loop owns the session, the registration, the election, the controller, and the metadata that the cluster's
controller tells. The replica manager has a loop of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.member_registry import MEMBER_APIS
from kafka_cy.base.slices import Slices
from kafka_cy.cluster.change_notifications import tell_of_failed_log_dir
from kafka_cy.cluster.cluster_identity import WrongCluster, create_common_nodes, find_cluster_id, generate_broker_id
from kafka_cy.cluster.config_writer import ConfigWriter
from kafka_cy.cluster.election import Election
from kafka_cy.cluster.features import FinalizedFeatures
from kafka_cy.cluster.isr_writer import IsrWriter
from kafka_cy.cluster.member_cache import MemberCache
from kafka_cy.cluster.metadata import new_cluster_id
from kafka_cy.cluster.metadata_cache import Change, ConfigChanged, LiveBroker
from kafka_cy.cluster.open_nodes import warn_of_open_nodes
from kafka_cy.cluster.registration import NO_EPOCH, Registration
from kafka_cy.cluster.store import Get, Node, StoreError
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.stored_configs import MalformedSettings, StoredConfigs
from kafka_cy.cluster.znode_formats import MALFORMED, BrokerInfo, Endpoint, TopicAssignment
from kafka_cy.cluster.znodes import CLUSTER_ID, topic_path
from kafka_cy.controller.controller import Controller
from kafka_cy.controller.settings import ControllerSettings, Surroundings
from kafka_cy.protocol.controller_messages import alter_partition
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from kafka_cy.protocol.controller_messages.controlled_shutdown import ControlledShutdownRequest
from kafka_cy.protocol.inter_broker_version import InterBrokerVersion
from kafka_cy.replication.fetchers import Endpoint as FetchedFrom
from kafka_cy.server.arrangement import ClusterRefused
from kafka_cy.server.authorization import stored_acls
from kafka_cy.server.client_requests import ClientRequests
from kafka_cy.server.controller_transport import ControllerChannel, ControllerTransport
from kafka_cy.server.delegation_tokens import stored_tokens
from kafka_cy.server.internal_counts import InternalCounts
from kafka_cy.server.leaving import Leaving
from kafka_cy.server.member_calls import MemberCalls
from kafka_cy.server.member_parts import Member
from kafka_cy.server.member_producer_ids import MemberProducerIds, from_controller, from_store
from kafka_cy.server.member_replicas import MemberReplicas
from kafka_cy.server.member_session import MemberSession
from kafka_cy.server.member_topic_maker import MemberTopicMaker
from kafka_cy.server.metadata_updates import MetadataUpdates
from kafka_cy.server.missed_deletions import MissedDeletions
from kafka_cy.server.published_topics import PublishedTopics
from kafka_cy.server.standalone import cluster_id_of, property_of
from kafka_cy.server.topic_settings import NotAllowed, topic_settings, usable_settings
from kafka_cy.server.topic_waits import TopicWaits
from kafka_cy.storage.partition_folders import PARTITION_INDEX_MAX

if TYPE_CHECKING:
    from kafka_cy.api.registry import Api
    from kafka_cy.cluster.acl_store import StoredAcls
    from kafka_cy.cluster.producer_ids import Reserved
    from kafka_cy.cluster.quorum import Quorum
    from kafka_cy.cluster.token_store import StoredTokens
    from kafka_cy.coordinator.streams.configured import InternalTopic
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.storage.log_manager import LogManager

UNCLEAN = "unclean.leader.election.enable"
OLDEST, NEWEST = (2, 6), (3, 9)  # inter.broker.protocol.version
READ_AT_ONCE = 200


class ClusterMember:
    """See Arrangement."""

    apis: Mapping[int, Api] = MEMBER_APIS
    feature_changes: Any = None
    topic_changes: Any = None
    tokens: StoredTokens | None = None
    _controller: Controller
    _election: Election

    def __init__(self, broker: KafkaServer) -> None:
        self._broker = broker
        self._config, self._log, self._loop = broker.config, broker.log, broker.controller_loop
        self.acls: StoredAcls | None = None
        self.member: Any = None  # server.member_parts.Member, from `publish` on
        self._session: MemberSession | None = None
        self._updates: MetadataUpdates | None = None
        self._replicas: MemberReplicas | None = None
        self._transport: ControllerTransport | None = None
        self._channel: ControllerChannel | None = None
        self._calls: MemberCalls | None = None

    # -- start --

    def load(self) -> None:
        """See Arrangement. Nothing is written to the log directories."""
        config, broker = self._config, self._broker
        self.protocol = _protocol(config)
        session = self._session = MemberSession(broker)
        self.store = session.store
        self.cache = MemberCache(config.broker_id, [listener.name for listener in config.listeners])
        self.cache.features = FinalizedFeatures({}, 0)
        self.configs = StoredConfigs(
            session.store, self.cache, are_usable=self._are_usable, wall_clock_ms=self._loop.wall_clock_ms,
            call_later=session.call_later, log=self._log,
        )  # fmt: skip
        self.cache.topics_without_settings = self.configs.malformed_topics
        session.connect()
        self.cache.cluster_id = session.run(self._identify)
        self.cache.broker_id = config.broker_id
        session.run(self.configs.read_all)
        sets_acls = bool(config["zookeeper.set.acl"])
        session.run(lambda calls: warn_of_open_nodes(calls, self.cache, self._log, sets_acls=sets_acls))
        self.tokens = stored_tokens(broker, session.store, session.call_later, lambda: self._controller.term is not None)
        if self.tokens is not None:
            session.run(self.tokens.read_all)
        self.acls = stored_acls(broker, session.store, session.call_later, is_alone=False)
        if self.acls is not None:
            session.run(self.acls.read_all)

    async def _identify(self, calls: StoreCalls) -> str:
        """The cluster's id, after which the broker's id is known, too."""
        await calls.catch_up()
        config = self._config
        stored = cluster_id_of(config.log_dirs)
        if stored is not None and (await calls.read(Get(CLUSTER_ID)))[0] is None:
            raise WrongCluster(
                f"there is no cluster in ZooKeeper at {config['zookeeper.connect']}, but the log directories belong to {stored}"
                " (meta.properties); zookeeper.connect may be wrong"
            )
        await create_common_nodes(calls)
        cluster_id = await find_cluster_id(calls, stored, lambda: self._broker.new_cluster_id or new_cluster_id())
        if config.broker_id < 0:
            own = property_of(config.log_dirs, "broker.id")
            broker_id = int(own) if own else await generate_broker_id(calls, config["reserved.broker.max.id"])
            self._log.info("broker id taken from the log directories" if own else "broker id generated", broker_id=broker_id)
            config.take_broker_id(broker_id)
        return cluster_id

    def open_logs(self, logs: LogManager) -> None:
        """See Arrangement. A log of an earlier topic of the same name is set aside; one of an unknown topic waits for it.

        Raises ClusterRefused if the settings of a log's topic cannot be understood or used: before anything is opened.
        """
        assert self._session is not None
        logs.open()
        found = logs.named_topics()
        known = {name: (topic_id, PARTITION_INDEX_MAX + 1) for name, topic_id in found.items()}
        ids = self._session.run(partial(self._topic_ids, names=sorted(found)))
        known |= {name: (topic_id, PARTITION_INDEX_MAX + 1) for name, topic_id in ids.items() if topic_id is not None}
        without = [name for name in found if name not in ids]
        if without:
            self._log.warning(
                "logs of topics that the cluster does not have are kept", topics=len(without), first=min(without)
            )
        for name in found:
            try:
                logs.set_config(name, self.topic_config(name))
            except MalformedSettings as error:
                raise ClusterRefused(str(error)) from error
        logs.start(known, {})

    async def _topic_ids(self, calls: StoreCalls, names: Sequence[str]) -> dict[str, bytes | None]:
        """The ids of those topics that exist; not earlier ones, which would set the logs of now aside. None: it has no id."""
        await calls.catch_up()
        ids: dict[str, bytes | None] = {}
        for start in range(0, len(names), READ_AT_ONCE):
            some = names[start : start + READ_AT_ONCE]
            nodes: list[Node | None] = await calls.read(*[Get(topic_path(name)) for name in some])
            for name, node in zip(some, nodes, strict=True):
                if node is None:
                    continue
                try:
                    topic_id = TopicAssignment.decode(node.data).topic_id
                except MALFORMED:
                    topic_id = None
                ids[name] = topic_id.bytes if topic_id is not None else None
        return ids

    def topic_config(self, name: str) -> dict[str, Any]:
        """The typed configuration of a topic's logs. Any thread. Raises MalformedSettings: defaults might delete too much."""
        if name in self.configs.malformed_topics:
            raise MalformedSettings(
                f"the settings of topic {name} in ZooKeeper are malformed, or may not be read: repair or delete the node"
                f" /config/topics/{name}, or let this broker read it"
            )
        try:
            return topic_settings(self._config, name, self.cache.topic_config(name))
        except NotAllowed as error:
            raise MalformedSettings(f"{error}; repair the node /config/topics/{name} in ZooKeeper") from error

    def _usable_config(self, name: str) -> dict[str, Any] | None:
        """None: there are none that can be used (StoredConfigs has told why), and logs keep those of before."""
        try:
            return self.topic_config(name)
        except MalformedSettings:
            return None

    def _are_usable(self, name: str, values: dict[str, str]) -> bool:
        return usable_settings(self._config, name, values, self._log) is not None

    def publish(self) -> None:
        """See Arrangement. Topics and brokers come from the controller."""
        broker, config, session = self._broker, self._config, self._session
        assert session is not None
        addresses = tuple([(host, port) for _, host, port in broker.addresses])
        own = LiveBroker(config.broker_id, config["broker.rack"], addresses)
        self._published = PublishedTopics(self.cache, broker.logs, broker.publisher, own)
        slices = self._slices = Slices(self._loop, lambda error: broker.on_error("what the controller tells", error))
        updates = self._updates = MetadataUpdates(
            self.cache, self.configs, self._published, slices, self._log, self._updated
        )
        self._missed = MissedDeletions(self.cache, session.calls, session.call_later, updates.remove, self._log)
        InternalCounts(self.cache, session.calls, session.call_later, self._log).start()
        self._published.publish()
        self.isr_writer = IsrWriter(config.broker_id, session.calls, session.call_later, self._now_ms, self._log)
        self._replicas = MemberReplicas(broker, self, session.post)
        self._manager = self._replicas.manager
        timeout_ms = int(config["controller.socket.timeout.ms"])
        inter_broker, control_plane = config.inter_broker_listener_name, config.control_plane_listener_name
        self._channel = ControllerChannel(
            config.broker_id, inter_broker, self.cache, self._ask, session.post, timeout_ms, self._log.repeated,
            broker.transport_to(inter_broker),
        )  # fmt: skip
        if self.protocol.asks_for_producer_ids:
            ask = from_controller(self._channel, config.broker_id, lambda: self._registration.epoch)
        else:
            ask = from_store(session.calls, config.broker_id)
        self._producer_ids = MemberProducerIds(ask, self._now_ms, session.call_later, int(config["request.timeout.ms"]))
        self._transport = ControllerTransport(
            config.broker_id, control_plane or inter_broker, self, session.post, timeout_ms, self._log.repeated,
            broker.transport_to(control_plane or inter_broker),
        )  # fmt: skip
        around = Surroundings(self._now_ms, session.call_later, self._transport, self._log.info, self._log.warning)
        self._controller = Controller(
            _controller_settings(config), around, session.store, lambda release: self._election.lost(release)
        )
        config.add_change_listener(self._settings_changed)
        self.cache.add_listener(self._topic_settings_changed)
        self._election = Election(
            session.store,
            config.broker_id,
            wall_clock_ms=self._loop.wall_clock_ms,
            call_later=session.call_later,
            log=self._log,
            elected=self._controller.elected,
            resigned=self._controller.resign,
        )
        self.calls = self._calls = MemberCalls(broker, self.cache)
        self._topic_maker = MemberTopicMaker(
            self.cache, config, self._log, session.calls, gives_ids=self.protocol.uses_topic_ids
        )
        elements_max = int(config["kafkacy.control.request.max.elements"])
        timeout_ms = int(config["request.timeout.ms"])
        waits, requests = TopicWaits(self.cache, self._loop, timeout_ms), ClientRequests(self._loop, timeout_ms)
        self.member = Member(self._manager, updates, self._controller, slices, elements_max, waits, requests)
        self.config_changes: Any = ConfigWriter(session.store, self.cache, session.call_later, self.configs.stored)
        self._follow_stored(session)

    def _follow_stored(self, session: MemberSession) -> None:
        """The recovery of logs may have taken long: clients see the settings, ACLs and tokens of now, not what `load` has read."""
        optional = [each for each in (self.acls, self.tokens) if each is not None]
        followed: list[StoredConfigs | StoredAcls | StoredTokens] = [self.configs, *optional]
        for each in followed:
            each.start()

        def are_current() -> bool:
            for each in followed:
                if isinstance(each.fault, StoreError):  # as in `load`
                    raise ClusterRefused(str(each.fault) or type(each.fault).__name__) from each.fault
            return all(each.is_current for each in followed)

        session.run_until(are_current)

    def join(self) -> None:
        """See Arrangement. Returns when the broker is registered."""
        session, config, replicas = self._session, self._config, self._replicas
        assert session is not None and replicas is not None
        self._refusal: str | None = None
        endpoints = tuple(Endpoint(*each) for each in self._broker.endpoints())
        self._registration = Registration(
            session.store,
            config.broker_id,
            BrokerInfo(endpoints, config.rack, timestamp_ms=self._loop.wall_clock_ms()),
            config.inter_broker_listener_name,
            control_plane_listener=config.control_plane_listener_name,
            version=self.protocol.registration_version,
            call_later=session.call_later,
            log=self._log,
            registered=self._registered,
            lost=self._lost,
            refused=self._refused,
        )
        replicas.start()
        self._registration.start()
        session.run_until(lambda: self._registration.epoch != NO_EPOCH or self._refusal is not None)
        if self._refusal is not None:
            raise ClusterRefused(f"broker {config.broker_id} is not registered: {self._refusal}")

    def _registered(self, epoch: int) -> None:
        assert self._updates is not None
        self._updates.broker_epoch = epoch
        self._manager.registered(epoch)
        self._election.contend()
        self._missed.look()

    def _lost(self) -> None:
        self._log.warning("this broker is not a member of the cluster any more; it registers again in a new session")

    def _refused(self, why: str) -> None:
        self._refusal = why
        self._broker.fail(ClusterRefused(f"the broker stops: broker {self._config.broker_id} is not registered: {why}"))

    def _settings_changed(self, names: frozenset[str]) -> None:
        if UNCLEAN in names:
            self._controller.take_settings(_controller_settings(self._config))
            if self._config[UNCLEAN]:
                self._controller.elect_missing()

    def _topic_settings_changed(self, change: Change) -> None:
        """As in Kafka, a topic that allows unclean elections gets its leaders at once."""
        if not isinstance(change, ConfigChanged) or change.entity_type != "topics":
            return
        if change.entity_name not in self.cache.topics:
            settings = self._usable_config(change.entity_name)
            if settings is not None:
                self._broker.logs.set_config(change.entity_name, settings)  # not told of the topic yet
        if change.values.get(UNCLEAN, "").strip().lower() == "true":  # stored as it was written: TRUE
            self._controller.elect_missing()

    # -- what others tell --

    def receive(self, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]) -> None:
        """A request of this broker's own controller."""
        self.member.receive(api_key, version, body, done)

    def _ask(self, api: Any, request: Any, done: Callable[[Any], object]) -> None:
        self.member.ask(api, request, done)

    def _updated(self, controller_epoch: int) -> None:
        assert self._replicas is not None
        self._replicas.controller_epoch_seen(controller_epoch)
        listener = self._config.inter_broker_listener_name
        found = {broker_id: self.cache.endpoint(broker_id, listener) for broker_id in self.cache.broker_ids}
        self._manager.brokers_changed({broker_id: FetchedFrom(*each) for broker_id, each in found.items() if each is not None})

    # -- running --

    def _now_ms(self) -> float:
        return self._loop.now() * 1000

    def supported_features(self) -> Mapping[str, tuple[int, int]]:
        """See Arrangement. A cluster with ZooKeeper has none."""
        return {}

    def quorum(self) -> Quorum:
        """See Arrangement."""
        raise NotImplementedError("a cluster with ZooKeeper has no quorum")

    def controller_epoch(self) -> int:
        """See Arrangement."""
        return self._updates.controller_epoch if self._updates is not None else 0

    def reserve_producer_ids(self, done: Reserved) -> None:
        """See Arrangement."""
        self._producer_ids.reserve(done)

    def create_on_demand(self, names: Sequence[str], sender: Mapping[str, str], done: Callable[[], object]) -> None:
        """See Arrangement."""
        self._topic_maker.create(names, sender, done)

    def create_for_streams(
        self, topics: Sequence[InternalTopic], sender: Mapping[str, str], done: Callable[[Mapping[str, str]], object]
    ) -> None:
        """See Arrangement. A cluster with ZooKeeper has no streams groups."""
        done({each.name: "Streams groups are not available in a cluster with ZooKeeper." for each in topics})

    def log_options(self) -> dict[str, Any]:
        """See Arrangement."""
        interval_ms = int(self._config["replica.high.watermark.checkpoint.interval.ms"])
        return {"leads": False, "high_watermark_interval_ms": interval_ms}

    def log_dir_offline(self, path: str, lost: Sequence[Any]) -> str | None:
        """See Arrangement."""
        self._manager.log_dir_failed(lost)
        self._published.hosted_changed({partition.topic for partition in lost})
        return None

    def hosted_changed(self, topics: set[str]) -> None:
        """Logs of these topics were created or deleted."""
        self._published.hosted_changed(topics)
        self._slices.add(self._settings_of_new_logs(topics))

    def _settings_of_new_logs(self, topics: set[str]) -> Iterator[None]:
        """Another thread has created the logs, with settings that may have changed between their reading and that."""
        logs = self._broker.logs
        for name in topics:
            is_known = self.cache.find_config("topics", name) is not None  # a topic that is being deleted keeps its settings
            if is_known and logs.has_topic(name):
                config = self._usable_config(name)
                if config is not None and config != logs.config_of(name):
                    yield from logs.set_config_in_steps(name, config)
            yield

    def alter_partition(
        self, request: AlterPartitionRequest, done: Callable[[AlterPartitionResponse | None], object]
    ) -> None:
        """Have the controller store ISRs of partitions that this broker leads, or store them, by inter.broker.protocol.version."""
        if not self.protocol.asks_for_isr_changes:
            self.isr_writer.alter(request, done)
            return
        assert self._channel is not None
        self._channel.send(alter_partition, request, AlterPartitionResponse, done, request.newest_version)

    def tell_of_failed_log_dir(self) -> None:
        """Have the controller ask for the state of this broker's replicas."""
        assert self._session is not None
        tell_of_failed_log_dir(self._session.calls(), self._config.broker_id, self._log)

    # -- end --

    def leave(self, done: Callable[[], object]) -> None:
        """See Arrangement."""
        assert self._session is not None
        if self._config["controlled.shutdown.enable"]:
            self._session.post(self._leave, done)
        else:
            done()

    def _leave(self, done: Callable[[], object]) -> None:
        assert self._channel is not None and self._session is not None
        config = self._config

        def moved() -> None:
            self._manager.stop_fetching()  # else the new leaders would propose this broker for their ISRs
            done()

        Leaving(
            self._channel,
            lambda: ControlledShutdownRequest(config.broker_id, self._registration.epoch),
            self._session.call_later,
            self._log,
            retries=int(config["controlled.shutdown.max.retries"]),
            backoff_ms=int(config["controlled.shutdown.retry.backoff.ms"]),
            timeout_ms=int(config["controller.socket.timeout.ms"]),
            done=moved,
        ).start()

    def drop_requests(self) -> None:
        """See Arrangement."""
        if self.member is not None:
            self.member.stop()

    def stop(self) -> None:
        """See Arrangement."""
        if self._replicas is not None:
            self._replicas.stop()
        if self._calls is not None:
            self._calls.close()
        if self._channel is not None:
            self._channel.close()
        if self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        """See Arrangement."""
        if self._session is not None:
            self._session.store.close()


def _controller_settings(config: Any) -> ControllerSettings:
    return ControllerSettings(
        config.broker_id,
        config.inter_broker_listener_name,
        str(config["inter.broker.protocol.version"]),
        auto_leader_rebalance_enable=bool(config["auto.leader.rebalance.enable"]),
        leader_imbalance_check_interval_seconds=int(config["leader.imbalance.check.interval.seconds"]),
        leader_imbalance_per_broker_percentage=int(config["leader.imbalance.per.broker.percentage"]),
        unclean_leader_election_enable=bool(config["unclean.leader.election.enable"]),
        delete_topic_enable=bool(config["delete.topic.enable"]),
    )


def _protocol(config: Any) -> InterBrokerVersion:
    """Raises ConfigError."""
    key = "inter.broker.protocol.version"
    text = str(config[key])
    try:
        found = InterBrokerVersion.parse(text)
    except ValueError:
        found = None
    if found is None or not OLDEST <= (found.major, found.minor) <= NEWEST:
        from kafka_cy.config import ConfigError

        raise ConfigError(key, text, "a release from 2.6 to 3.9, such as 3.9 or 2.8-IV0")
    return found

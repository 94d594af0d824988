"""A complete broker: configuration → network → metadata → logs → image → coordinator, started and stopped in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import ADMIN, CONTROLLER, COORDINATOR, advertised
from kafka_cy.base.named_thread import NamedThread
from kafka_cy.base.slices import Slices
from kafka_cy.cluster.embedded_store import FILE_NAME, EmbeddedStore
from kafka_cy.cluster.hosting import Hosting, folders_of
from kafka_cy.cluster.log_directories import missing_directories
from kafka_cy.cluster.metadata import ClusterMetadata, new_cluster_id
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.metadata_location import check_unused, metadata_dir
from kafka_cy.cluster.producer_ids import ProducerIdBlocks, ProducerIds
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.cluster.unknown_partitions import finish_adoption, refuse_unknown
from kafka_cy.server.control_loop import ControlLoop, NetworkQueue
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.start_lines import log_addresses
from kafka_cy.server.topic_creations import TopicCreations
from kafka_cy.telemetry.broker_view import RECOVERY, RUNNING, SHUTTING_DOWN, STARTING

if TYPE_CHECKING:
    from kafka_cy.api.context import ApiContext
    from kafka_cy.cluster.producer_ids import Reserved
    from kafka_cy.server.dispatcher import Dispatcher

LOG_EVENTS_INTERVAL_S = 0.5
FETCH_SESSIONS_MAX = (1 << 24) - 1  # a session id carries its slot
LEVEL_NAMES = {10: "debug", 20: "info", 30: "warning", 40: "error"}


class DataRefused(Exception):
    """The log directories cannot be used; the message is one sentence with the reason."""


class PortTaken(Exception):
    """A listener's address cannot be bound; the message is one sentence with the address and the reason."""


class KafkaServer:
    """One broker in this process.

    The admin loop runs on the thread that calls `start` and `run`. Two others have their own threads: the controller loop
    owns the metadata and its store as soon as `run` begins, the coordinator loop owns the groups. Only the controller loop
    changes the metadata; the others read the cache.
    """

    def __init__(self, config: Any, log: BrokerLog, cluster_id: str | None = None) -> None:
        self.config = config
        self._new_cluster_id = cluster_id  # of a cluster that does not exist yet; None: a random one
        self.log = log
        self.loop = ControlLoop(self._on_error)  # admin: everything that the other two do not do
        self.controller_loop = ControlLoop(self._on_error)  # on its own thread
        self.coordinator_loop = ControlLoop(self._on_error)  # on its own thread
        self._threads: list[threading.Thread] = []
        self._dispatchers: list[Dispatcher] = []
        self.server: Any = None
        self.logs: Any = None
        self.metadata: ClusterMetadata | None = None
        self.cluster: MetadataCache | None = None  # part of `metadata`; everything except the start code reads it
        self.groups: Any = None
        self.metrics: Any = None
        self.state = STARTING
        self.lag: Any = None
        self.client_telemetry: Any = None  # created when the first client asks
        self.otel: Any = None
        self.failure: DataRefused | None = None  # why run() ended, if not by stop()
        self._metadata_dir = config.log_dirs[0]
        self.addresses: list[tuple[str, str, int]] = []  # listener name, advertised host, port
        self.bound_ports: dict[str, int] = {}  # by listener name

    # -- start --

    def start(self) -> None:
        """Start and begin to answer clients. Raises PortTaken, DataRefused, ConfigError."""
        self._listen()
        self._load_metadata()
        self.state = RECOVERY
        self._start_logs()
        self._publish()
        self._serve()

    def _listen(self) -> None:
        # Bind before touching the disk: a taken port must leave no traces. Clients wait in the backlog.
        from kafka_cy.network import jobs
        from kafka_cy.network.server import MOST_REACTORS, Server
        from kafka_cy.server.connection_limits import apply_connection_limits

        config = self.config
        reactors = config.reactors(len(os.sched_getaffinity(0)))
        if reactors > MOST_REACTORS:
            self.log.warning("num.network.threads is above the maximum", configured=reactors, running=MOST_REACTORS)
        jobs.set_threads(int(config["num.io.threads"]))
        self.server = Server(
            min(reactors, MOST_REACTORS),
            request_max_bytes=int(config["socket.request.max.bytes"]),
            queued_request_bytes_max=config.queued_request_bytes(),
            queued_response_bytes_max=int(config["kafkacy.queued.max.response.bytes"]),
            idle_timeout_ms=int(config["connections.max.idle.ms"]),
            in_flight_max=int(config["kafkacy.connection.max.in.flight.requests"]),
            send_buffer_bytes=int(config["socket.send.buffer.bytes"]),
            receive_buffer_bytes=config.receive_buffer_bytes(),
            backlog=config.listen_backlog(),
            queued_requests_max=int(config["queued.max.requests"]),
            control_requests_per_connection_max=int(config["kafkacy.connection.max.control.requests"]),
            control_request_bytes_max=int(config["kafkacy.control.request.max.bytes"]),
        )
        apply_connection_limits(config, self.server, self.log.warning)
        advertised_by_name = {listener.name: listener for listener in config.advertised_listeners}
        for index, listener in enumerate(config.listeners):
            try:
                port = self.server.listen(index, listener.name, listener.host, listener.port)
            except OSError as error:
                raise PortTaken(f"cannot listen on {listener}: {error.strerror or error}") from error
            self.bound_ports[listener.name] = port
            shown = advertised_by_name.get(listener.name, listener)
            self.addresses.append((listener.name, shown.host or listener.host, shown.port or port))

        self._listen_for_metrics()
        self._listen_for_lag()
        log_addresses(self.log, self)

    def _listen_for_metrics(self) -> None:
        from kafka_cy.config import ConfigError
        from kafka_cy.server.metrics_view import MetricsView
        from kafka_cy.telemetry.metrics_server import MetricsServer

        listen = self.config["kafkacy.metrics.listen"]
        if not listen:
            return
        try:
            self.metrics = MetricsServer(listen, MetricsView(self), bool(self.config["kafkacy.metrics.persec.enable"]))
            self.metrics.start()  # already now: /ready and the state report the start
        except ValueError as error:
            raise ConfigError("kafkacy.metrics.listen", listen, "HOST:PORT, or empty for no metrics") from error
        except OSError as error:
            raise PortTaken(f"cannot listen on {listen} for metrics: {error.strerror or error}") from error

    def _listen_for_lag(self) -> None:
        from kafka_cy.config import ConfigError

        listen = self.config["kafkacy.lag.listen"]
        if not listen:
            return
        from kafka_cy.server.lag_view import LagView
        from kafka_cy.telemetry.lag_http import LagServer

        try:
            self.lag = LagServer(listen, LagView(self), self.config["kafkacy.lag.names"])
        except ValueError as error:
            raise ConfigError("kafkacy.lag.listen", listen, "HOST:PORT, or empty for no lag metrics") from error
        except OSError as error:
            raise PortTaken(f"cannot listen on {listen} for consumer lag: {error.strerror or error}") from error

    def _load_metadata(self) -> None:
        # Check the directories before anything is written.
        log_dirs = self.config.log_dirs
        home = self._metadata_dir = metadata_dir(log_dirs, self.config["metadata.log.dir"])
        is_new = not os.path.exists(f"{home}/{FILE_NAME}")  # noqa: PTH110 (pathlib costs start time)
        if is_new:
            self._check_unused(home)
        try:
            os.makedirs(home, exist_ok=True)  # noqa: PTH103
        except OSError as error:
            raise DataRefused(f"log directory {home} cannot be created: {error.strerror}") from error
        if not os.access(home, os.W_OK | os.X_OK):
            raise DataRefused(f"log directory {home} is not writable")
        store = EmbeddedStore(f"{home}/{FILE_NAME}", self.controller_loop.call_soon_threadsafe)
        self.metadata = ClusterMetadata(store, self.config.broker_id, self.loop.wall_clock_ms)
        stored_id = self.metadata.controller.stored_cluster_id()
        if stored_id is None and not is_new:
            self._check_unused(home)  # an interrupted first start leaves an empty store
        known_id = cluster_id_of(log_dirs) or stored_id
        if known_id and self._new_cluster_id not in (None, known_id):
            self.log.warning(f"the data belongs to cluster {known_id}; CLUSTER_ID={self._new_cluster_id} has no effect")
        self.metadata.load(known_id or self._new_cluster_id or new_cluster_id())
        self.cluster = self.metadata.cache

    def _check_unused(self, home: str) -> None:
        try:
            check_unused(home, self.config.log_dirs, self.config.broker_id)
        except OSError as error:
            raise DataRefused(str(error)) from error

    def _start_logs(self) -> None:
        from kafka_cy.server.applied_config import AppliedConfig, cleaner_config
        from kafka_cy.storage.log import StorageFailure
        from kafka_cy.storage.log_manager import LogManager

        assert self.metadata is not None and self.cluster is not None
        slices = Slices(self.controller_loop, lambda error: self._on_error("changed settings", error))
        applied = AppliedConfig(self.config, self.cluster, None, self.server, self.log.warning, slices)
        warned = len(self.config.warnings)
        applied.start()
        for warning in self.config.warnings[warned:]:
            self.log.warning(warning)
        self._encrypt()
        self.logs = LogManager(
            self.config.log_dirs,
            self.config.broker_id,
            self.cluster.cluster_id,
            self.config.log_defaults(),
            self.controller_loop,
            retention_check_interval_ms=int(self.config["log.retention.check.interval.ms"]),
            checkpoint_interval_ms=int(self.config["log.flush.offset.checkpoint.interval.ms"]),
            cleaner_config=cleaner_config(self.config),
            on_offline=self._on_log_dir_offline,
            on_uncleanable=self._on_uncleanable,
            warn=self.log.warning,
            info=self.log.info,
            recovery_threads=self.config.recovery_threads(),
        )
        applied.logs = self.logs
        try:
            self.logs.open()
            refuse_unknown(self.metadata, self.logs)
            for topic in self.cluster.all_topics():
                if topic.config:
                    self.logs.set_config(topic.name, self.config.topic_config(topic.config))
            known, deleting = folders_of(self.cluster.all_topics()), folders_of(self.metadata.topic_changes.deleting)
            missing = missing_directories(self.metadata.controller, self.logs.directory_ids())
            adopted = finish_adoption(self.metadata, self.logs, self._metadata_dir)
            if adopted is not None:
                self.log.warning(adopted)
            self.logs.start(known, deleting, incomplete=bool(missing))
        except (OSError, ValueError, RuntimeError, StorageFailure) as error:
            raise DataRefused(str(error)) from error
        for path in sorted(self.logs.offline_dirs):
            self.log.error("a log directory cannot be used and is offline", path=path)
        if self._metadata_dir in self.logs.offline_dirs:
            raise DataRefused(f"log directory {self._metadata_dir}, which contains the metadata, cannot be used")
        self.cluster.logs = self.logs

    def _encrypt(self) -> None:
        # Before the logs are opened: a broker with a bad certificate must never serve.
        if any(listener.security_protocol == "SSL" for listener in self.config.listeners):
            from kafka_cy.server.tls_listeners import TlsListeners

            TlsListeners(self.config, self.server, self.log).start(self.cluster)

    def _publish(self) -> None:
        from kafka_cy.network.metadata_image import ImagePublisher

        assert self.metadata is not None and self.cluster is not None
        config, broker_id = self.config, self.config.broker_id
        protocols = {listener.name: listener.security_protocol for listener in config.listeners}
        endpoints = [(name, protocols[name], host, port) for name, host, port in self.addresses]
        self.metadata.register_broker(endpoints, config.rack)
        self.publisher = ImagePublisher(self.server)
        addresses = [(host, port) for _, host, port in self.addresses]
        self.publisher.set_brokers(self.cluster.cluster_id, broker_id, broker_id, [(broker_id, config.rack, addresses)])
        self.hosting = Hosting(
            self.metadata, self.logs, self.publisher, config.topic_config, self._on_storage_error, self.log.warning
        )
        self.hosting.start()

    def _start_groups(self) -> None:
        from kafka_cy.coordinator.group_coordinator import GroupCoordinator

        cluster = self.cluster
        assert cluster is not None
        self.groups = GroupCoordinator(self.config, cluster, self.coordinator_loop, self.log.warning, self.log.info)
        cluster.add_listener(lambda change: self.coordinator_loop.call_soon_threadsafe(self.groups.on_change, change))
        self.coordinator_loop.call_soon_threadsafe(self.groups.start)

    def _serve(self) -> None:
        from kafka_cy.api import api_versions, fetch, fetch_session_cache
        from kafka_cy.api.hot import register_all

        register_all()
        fetch.set_max_bytes(int(self.config["fetch.max.bytes"]))
        slots = int(self.config["max.incremental.fetch.session.cache.slots"])
        fetch_session_cache.set_slots(min(slots, FETCH_SESSIONS_MAX))
        fetch_session_cache.set_limits(
            partitions_max=int(self.config["kafkacy.fetch.session.max.partitions"]),
            bytes_max=int(self.config["kafkacy.fetch.session.cache.max.bytes"]),
        )
        api_versions.set_table([(row.api_key, row.version_min, row.version_max) for row in advertised()])
        self.server.set_api_versions([tuple(row) for row in advertised()])
        self.server.set_slow_request_threshold_ms(int(self.config["kafkacy.slow.request.log.threshold.ms"]))
        self._prepare_otel()
        self.server.start()

    def _prepare_otel(self) -> None:
        from kafka_cy.telemetry.otel_settings import is_on

        if is_on(self.config, os.environ):
            from kafka_cy.server.otel import make_export

            self.otel = make_export(self)
        if self.otel is None:
            self.log.listen(None)

    def _start_control_plane(self) -> None:
        # After the reactors serve: until now only cold requests wait, for a few milliseconds of imports.
        from kafka_cy.server.dispatcher import Dispatcher

        assert self.metadata is not None and self.cluster is not None
        self._start_groups()
        self.producer_ids = ProducerIds(
            self._reserve_producer_ids,
            lambda error: self.log.repeated("error", "producer ids cannot be reserved", {"error": str(error)}),
        )
        self._producer_id_blocks = ProducerIdBlocks(self.metadata.store, self.config.broker_id)
        if self.lag is not None:
            self.lag.start()
        if self.otel is not None:
            self.otel.start()
        loops = (self.loop, self.coordinator_loop, self.controller_loop)
        admin, coordinator, controller = (Dispatcher(self._context(loop), self.log) for loop in loops)
        self._dispatchers = [admin, coordinator, controller]
        self.loop.attach(NetworkQueue(self.server, ADMIN), admin.dispatch)
        self.coordinator_loop.attach(NetworkQueue(self.server, COORDINATOR), coordinator.dispatch, self.groups.look)
        self.controller_loop.attach(NetworkQueue(self.server, CONTROLLER), controller.dispatch)
        self.producer_ids.start()
        for name, loop in (("controller", self.controller_loop), ("coordinator", self.coordinator_loop)):
            thread = NamedThread(target=loop.run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self.loop.repeat(LOG_EVENTS_INTERVAL_S, self._drain_log_events)

    def _context(self, loop: ControlLoop) -> ApiContext:
        from kafka_cy.api.context import ApiContext

        assert self.metadata is not None and self.cluster is not None
        creations = TopicCreations(loop, self.controller_loop, self._create_on_demand)
        return ApiContext(
            config=self.config,
            cluster=self.cluster,
            topic_changes=self.metadata.topic_changes,
            config_changes=self.metadata.config_changes,
            logs=self.logs,
            groups=self.groups,
            producer_ids=self.producer_ids,
            loop=loop,
            broker_id=self.config.broker_id,
            cluster_id=self.cluster.cluster_id,
            advertised=[(host, port) for _, host, port in self.addresses],
            log=self.log,
            client_telemetry=self._client_telemetry,
            create_offsets_topic=partial(creations.create, [OFFSETS_TOPIC]),
            create_topics=creations.create,
        )

    def _create_on_demand(self, names: Sequence[str], sender: Mapping[str, str]) -> None:
        """Called on the controller loop: create these topics as far as possible."""
        from kafka_cy.api.change_lines import created_topic, log_each
        from kafka_cy.api.topic_creation import create_all_on_demand

        assert self.metadata is not None
        created = create_all_on_demand(self.metadata.cache, self.metadata.topic_changes, self.config, names)
        log_each(self.log, "topic created automatically", [created_topic(topic) for topic in created], sender)

    def _reserve_producer_ids(self, done: Reserved) -> None:
        """Called on the admin loop: reserve a block of producer ids, then call `done` there."""
        self.controller_loop.call_soon_threadsafe(
            self._producer_id_blocks.reserve, partial(self.loop.call_soon_threadsafe, done)
        )

    def _client_telemetry(self) -> Any:
        if self.client_telemetry is None:
            from kafka_cy.telemetry.client_telemetry import ClientTelemetry

            self.client_telemetry = ClientTelemetry(
                self.cluster, self.loop, self.config["telemetry.max.bytes"],
                lambda error: self._on_error("client telemetry", error),
            )  # fmt: skip
            if self.otel is not None:
                self.client_telemetry.exports.append(self.otel.push)
        return self.client_telemetry

    # -- running and stopping --

    def run(self) -> None:
        """Work until stop(). Raises DataRefused if log directories that the broker needs have failed."""
        self._start_control_plane()
        self.state = RUNNING
        self.loop.run()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Make run() return; callable from any thread."""
        self.loop.stop()

    def shutdown(self) -> None:
        """Drain connections, flush and close the logs, end the metadata session. Safe after a failed start, too."""
        self.state = SHUTTING_DOWN
        self.coordinator_loop.stop()
        self.controller_loop.stop()
        for thread in self._threads:
            thread.join()
        self.coordinator_loop.join_workers()
        if self.groups is not None:
            self.groups.stop()  # answers JoinGroup requests that wait, while the reactors still send responses
        for dispatcher in self._dispatchers:
            dispatcher.stop()
        if self.lag is not None:
            self.lag.stop()
        if self.otel is not None:
            self.otel.stop()
        if self.server is not None:
            self._refuse_queued()
            self.server.stop(int(self.config["kafkacy.shutdown.drain.timeout.ms"]) / 1000)
            self._drain_log_events()
            self.log.write_repeated(everything=True)
        if self.logs is not None:
            self.logs.shutdown()
        if self.metadata is not None:
            self.metadata.store.close()
        if self.metrics is not None:
            self.metrics.stop()

    def _refuse_queued(self) -> None:
        """The loops have ended: without this, the connections of requests that still wait for them would delay the shutdown."""
        for index in (ADMIN, COORDINATOR, CONTROLLER):
            for request in self.server.take_requests(0, index):
                request.close("the broker shuts down")

    def _drain_log_events(self) -> None:
        for event in self.server.take_log_events():
            level = LEVEL_NAMES[event.level]
            details: dict[str, Any] = {"client": event.peer} if event.peer else {}
            if event.api_key is not None:
                details["api_key"] = event.api_key
            if event.message.startswith("slow request"):
                self.log.write(level, event.message, details)  # each one tells where its time went
            else:
                self.log.repeated(level, event.message, details, event.peer.rpartition(":")[0], event.events)
        self.log.write_repeated()

    def _on_error(self, what: str, error: BaseException) -> None:
        import traceback

        where = "".join(traceback.format_exception(error)[-4:])
        self.log.error("a task of the control plane failed", task=what, error=repr(error), where=where)

    def _on_log_dir_offline(self, path: str, reason: str, lost: list[Any]) -> None:
        """Stop, as Kafka does, if the last log directory or the one with the metadata failed."""
        self.log.error("a log directory failed and is offline", path=path, reason=reason, partitions=len(lost))
        if path == self._metadata_dir:
            self._fail(f"the broker stops: log directory {path}, which contains the metadata, failed ({reason})")
        elif len(self.logs.offline_dirs) == len(self.logs.log_dirs):
            self._fail(f"the broker stops: all log directories have failed; the last one was {path} ({reason})")
        else:
            self.hosting.republish({partition.topic for partition in lost})

    def _fail(self, reason: str) -> None:
        self.failure = DataRefused(reason)
        self.loop.stop()

    def _on_uncleanable(self, partition: Any, why: str) -> None:
        self.log.error(
            "a log cannot be compacted: it is not compacted again before the next start",
            topic=partition.topic,
            partition=partition.index,
            error=why,
        )

    def _on_storage_error(self, topic: str, index: int, error: Exception) -> None:
        self.log.error("a log cannot be created or deleted", topic=topic, partition=index, error=str(error))


def cluster_id_of(log_dirs: list[str]) -> str | None:
    """Return the cluster id from a meta.properties in the log directories, or None."""
    for directory in log_dirs:
        try:
            with open(f"{directory}/meta.properties", encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            key, _, value = line.partition("=")
            if key.strip() == "cluster.id" and value.strip():
                return value.strip()
    return None

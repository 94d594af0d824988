"""A complete broker: configuration → network → metadata → logs → image → coordinator, started and stopped in order."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import ADMIN, CONTROLLER, COORDINATOR, advertised
from kafka_cy.base.named_thread import NamedThread
from kafka_cy.base.slices import Slices
from kafka_cy.cluster.producer_ids import ProducerIds
from kafka_cy.network.connection_lifetime import log_connections
from kafka_cy.network.listening import reason_of
from kafka_cy.quota import replication_quota
from kafka_cy.server.arrangement import Arrangement, ClusterRefused, DataRefused, StartFailed, arrange
from kafka_cy.server.authorization import start_authorizer
from kafka_cy.server.control_loop import ControlLoop, NetworkQueue
from kafka_cy.server.event_times import EventCounts, EventTimes
from kafka_cy.server.http_pages import PortTaken, open_page, page_security
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.replication_quotas import start_replication_quotas
from kafka_cy.server.start_lines import log_addresses, warn_of_anonymous_users, warn_of_open_addresses
from kafka_cy.server.topic_creations import TopicCreations
from kafka_cy.telemetry.broker_view import RECOVERY, RUNNING, SHUTTING_DOWN, STARTING

if TYPE_CHECKING:
    from kafka_cy.api.context import ApiContext
    from kafka_cy.authorizer.authorizer import Authorizer
    from kafka_cy.cluster.metadata_cache import MetadataCache
    from kafka_cy.cluster.producer_ids import Reserved
    from kafka_cy.server.dispatcher import Dispatcher

LOG_EVENTS_INTERVAL_S = 0.5
DENIALS_AT_ONCE = 32  # of reactors; each costs the admin loop at most some 30 microseconds
DENIALS_PER_INTERVAL_MAX = 256
QUOTA_EXPIRY_INTERVAL_S = 30.0
CLOSES_WATCHED = (78, 79)  # ShareFetch and ShareAcknowledge: their session ends with the connection
FETCH_SESSIONS_MAX = (1 << 24) - 1  # a session id carries its slot
LEVEL_NAMES = {10: "debug", 20: "info", 30: "warning", 40: "error"}


class KafkaServer:
    """One broker in this process.

    The admin loop runs on the thread that calls `start` and `run`. Two others have their own threads: the controller loop
    owns the metadata and its store as soon as `run` begins, the coordinator loop owns groups and transactions. Only the
    controller loop changes the metadata; the others read the cache.
    """

    def __init__(self, config: Any, log: BrokerLog, cluster_id: str | None = None) -> None:
        self.config = config
        self.new_cluster_id = cluster_id  # of a cluster that does not exist yet; None: a random one
        self.log = log
        self.loop = ControlLoop(self.on_error)  # admin: everything that the other two do not do
        self.controller_events = EventTimes()
        self.controller_loop = ControlLoop(self.on_error, self.controller_events)  # on its own thread
        self.coordinator_events = EventCounts()
        self.coordinator_loop = ControlLoop(self.on_error, self.coordinator_events)  # on its own thread
        self.loop_threads: list[threading.Thread] = []
        self.dispatchers: list[Dispatcher] = []
        self.server: Any = None
        self.quotas: Any = None
        self.publisher: Any = None
        self.authorizer: Authorizer | None = None  # None: everything is allowed
        self.audit: Any = None  # BrokerAudit, if there is an authorizer
        self.logs: Any = None
        self.tls: Any = None  # TlsListeners, if there is such a listener
        self.arrangement: Arrangement | None = None  # where the metadata comes from
        self.cluster: MetadataCache | None = None  # of the arrangement; everything except the start code reads it
        self.coordinators: Any = None
        self.groups: Any = None
        self.transactions: Any = None
        self.share: Any = None
        self.producer_ids: Any = None
        self.delete_waits: Any = None  # DeleteWaits
        self.metrics: Any = None
        self.state = STARTING
        self.lag: Any = None
        self.authentication: Any = None  # None: all listeners are plaintext
        self.logins: Any = None  # BrokerLogins, in a cluster whose brokers log in to each other
        self.client_telemetry: Any = None  # created when the first client asks
        self.otel: Any = None
        self.failure: DataRefused | ClusterRefused | None = None  # why run() ended, if not by stop()
        self.addresses: list[tuple[str, str, int]] = []  # listener name, advertised host, port
        self.bound_ports: dict[str, int] = {}  # by listener name

    # -- start --

    def start(self) -> None:
        """Start and begin to answer clients. Raises PortTaken, DataRefused, ClusterRefused, ConfigError, StartFailed."""
        start_authorizer(self)
        self._listen()
        self._load_metadata()
        assert self.arrangement is not None
        self.state = RECOVERY
        self._start_logs()
        self._publish()
        self._serve()
        self.arrangement.join()
        self.state = RUNNING  # before the ready line: who has read it may ask /ready

    def _listen(self) -> None:
        # Bind before touching the disk: a taken port must leave no traces. Clients wait in the backlog.
        from kafka_cy.network import jobs
        from kafka_cy.network.server import MOST_REACTORS, Server
        from kafka_cy.server.connection_limits import ConnectionLimits, protected_listeners

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
        self._connection_limits = ConnectionLimits(self.server, self.log.warning)
        self._connection_limits.apply(config)
        advertised_by_name = {listener.name: listener for listener in config.advertised_listeners}
        protected = protected_listeners(config)
        for index, listener in enumerate(config.listeners):
            try:
                port = self.server.listen(
                    index, listener.name, listener.host, listener.port, is_protected=listener.name in protected
                )
            except OSError as error:
                raise PortTaken(f"cannot listen on {listener}: {reason_of(error)}") from error
            self.bound_ports[listener.name] = port
            shown = advertised_by_name.get(listener.name, listener)
            self.addresses.append((listener.name, shown.host or listener.host, shown.port or port))

        self._listen_for_metrics()
        self._listen_for_lag()
        log_addresses(self.log, self)
        warn_of_open_addresses(self.log, self.config)
        warn_of_anonymous_users(self.log, self.config)

    def _listen_for_metrics(self) -> None:
        from kafka_cy.server.metrics_view import MetricsView
        from kafka_cy.telemetry.metrics_server import MetricsServer

        persec = bool(self.config["kafkacy.metrics.persec.enable"])
        persec_total = bool(self.config["kafkacy.metrics.persec.total.enable"])
        view = MetricsView(self)
        security = page_security(self.config, self.log, "metrics")
        self.metrics = open_page(
            self.config, "kafkacy.metrics.listen", self.log,
            lambda listen: MetricsServer(listen, view, persec, persec_total, security),
        )  # fmt: skip
        if self.metrics is not None:
            self.metrics.start()  # already now: /ready and the state report the start

    def _listen_for_lag(self) -> None:
        from kafka_cy.server.lag_view import lag_view
        from kafka_cy.telemetry.lag_http import LagServer

        view, names = lag_view(self), self.config["kafkacy.lag.names"]
        security = page_security(self.config, self.log, "lag")
        self.lag = open_page(
            self.config, "kafkacy.lag.listen", self.log, lambda listen: LagServer(listen, view, names, security)
        )  # fmt: skip

    def _load_metadata(self) -> None:
        self.arrangement = arrange(self)
        self.arrangement.load()
        self.cluster = self.arrangement.cache

    def _start_logs(self) -> None:
        from kafka_cy.server.applied_config import AppliedConfig, cleaner_config
        from kafka_cy.server.cordoned_dirs import CordonedDirs
        from kafka_cy.storage.log_manager import LogManager

        assert self.arrangement is not None and self.cluster is not None
        slices = Slices(self.controller_loop, lambda error: self.on_error("changed settings", error))
        applied = AppliedConfig(self.config, self.cluster, None, self.log, self.server, self._connection_limits, slices)
        warned = len(self.config.warnings)
        applied.start()
        start_replication_quotas(self.config, self.log)
        for warning in self.config.warnings[warned:]:
            self.log.warning(warning)
        self.config.on_warning = self.log.warning
        self._encrypt()
        self._authenticate()
        self.logs = LogManager(
            self.config.log_dirs,
            self.config.broker_id,
            self.cluster.cluster_id,
            self.config.log_defaults(),
            self.controller_loop,
            retention_check_interval_ms=int(self.config["log.retention.check.interval.ms"]),
            producers_check_interval_ms=int(self.config["producer.id.expiration.check.interval.ms"]),
            checkpoint_interval_ms=int(self.config["log.flush.offset.checkpoint.interval.ms"]),
            cleaner_config=cleaner_config(self.config),
            on_offline=self._on_log_dir_offline,
            on_uncleanable=self._on_uncleanable,
            warn=self.log.warning,
            info=self.log.info,
            recovery_threads=self.config.recovery_threads(),
            copy_pace=replication_quota,
            **self.arrangement.log_options(),
        )
        applied.logs = self.logs
        CordonedDirs(self.config, self.cluster, self.logs, self.log).start()
        try:
            self.arrangement.open_logs(self.logs)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            raise DataRefused(str(error) or "the logs cannot be opened: out of memory") from error
        for path in sorted(self.logs.offline_dirs):
            self.log.error("a log directory cannot be used and is offline", path=path)
        self.cluster.logs = self.logs

    def _encrypt(self) -> None:
        # Before the logs are opened: a broker with a bad certificate must never serve.
        if any(listener.security_protocol in ("SSL", "SASL_SSL") for listener in self.config.listeners):
            from kafka_cy.server.tls_listeners import TlsListeners

            self.tls = TlsListeners(self.config, self.server, self.log)
            try:
                self.tls.start(self.cluster)
            except OSError as error:
                raise StartFailed(f"the TLS listeners cannot be started: {error}") from error

    def transport_to(self, listener: str) -> Any:
        """The `transport` of connections to this listener of other brokers, which encrypts and logs in; None: plaintext."""
        logs_in = self.logins.transport_to(listener) if self.logins is not None else None
        if logs_in is not None:
            return logs_in
        return self.tls.transport_to(listener) if self.tls is not None else None

    def _log_in_to_brokers(self) -> None:
        if self.config.is_member and any(each.security_protocol.startswith("SASL_") for each in self.config.listeners):
            from kafka_cy.server.broker_logins import BrokerLogins

            self.logins = BrokerLogins(self)
            self.logins.start()

    def _authenticate(self) -> None:
        if any(listener.security_protocol != "PLAINTEXT" for listener in self.config.listeners):
            from kafka_cy.server.authentication_loop import AuthenticationLoop

            self.authentication = AuthenticationLoop(self)
        self._log_in_to_brokers()

    def _publish(self) -> None:
        from kafka_cy.network.metadata_image import ImagePublisher

        assert self.arrangement is not None
        self.publisher = ImagePublisher(self.server)
        if self.authorizer is not None:
            self.publisher.set_acls(self.authorizer.image)
        self.arrangement.publish()

    def endpoints(self) -> list[tuple[str, str, str, int]]:
        """Return what others connect to: listener name, security protocol, host, port."""
        protocols = {listener.name: listener.security_protocol for listener in self.config.listeners}
        return [(name, protocols[name], host, port) for name, host, port in self.addresses]

    def _serve(self) -> None:
        from kafka_cy.api import fetch, fetch_session_cache, share_fetch
        from kafka_cy.api.feature_tags import publish_features
        from kafka_cy.api.hot import register_all
        from kafka_cy.server.applied_config import set_partition_verification
        from kafka_cy.server.applied_quotas import start_quotas
        from kafka_cy.server.telemetry_offer import TelemetryOffer

        assert self.arrangement is not None and self.cluster is not None
        register_all()
        fetch.set_max_bytes(int(self.config["fetch.max.bytes"]))
        share_fetch.set_max_bytes(int(self.config["fetch.max.bytes"]))
        slots = int(self.config["max.incremental.fetch.session.cache.slots"])
        fetch_session_cache.set_slots(min(slots, FETCH_SESSIONS_MAX))
        fetch_session_cache.set_limits(
            partitions_max=int(self.config["kafkacy.fetch.session.max.partitions"]),
            bytes_max=int(self.config["kafkacy.fetch.session.cache.max.bytes"]),
        )
        set_partition_verification(self.config)
        apis = advertised(self.arrangement.apis, unstable=bool(self.config["unstable.api.versions.enable"]))
        TelemetryOffer(self.cluster, apis, always=self.config["kafkacy.client.telemetry.offer"] == "always").start()
        publish_features(self.arrangement.supported_features(), self.cluster)
        self.server.set_api_versions([tuple(row) for row in apis])
        for api_key in CLOSES_WATCHED:
            if api_key in self.arrangement.apis:
                self.server.watch_closes(api_key)
        self.server.set_slow_request_threshold_ms(int(self.config["kafkacy.slow.request.log.threshold.ms"]))
        self.quotas = start_quotas(self.server, self.config, self.cluster, self.controller_loop)
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
        from kafka_cy.api.delete_waits import DeleteWaits
        from kafka_cy.server.coordinators import Coordinators
        from kafka_cy.server.dispatcher import Dispatcher

        assert self.arrangement is not None
        self.producer_ids = ProducerIds(
            self._reserve_producer_ids,
            lambda error: self.log.repeated("error", "producer ids cannot be reserved", {"error": str(error)}),
        )
        slices = Slices(self.loop, partial(self.on_error, "waiting DeleteRecords"))
        self.delete_waits = DeleteWaits(self.loop, slices, self.log)
        coordinators = self.coordinators = Coordinators(self)
        self.groups, self.transactions, self.share = coordinators.groups, coordinators.transactions, coordinators.share
        if self.lag is not None:
            self.lag.start()
        if self.otel is not None:
            self.otel.start()
        loops = (self.loop, self.coordinator_loop, self.controller_loop)
        apis = self.arrangement.apis
        admin, coordinator, controller = (Dispatcher(self._context(loop), self.log, apis) for loop in loops)
        self.dispatchers = [admin, coordinator, controller]
        self.loop.attach(NetworkQueue(self.server, ADMIN), admin.dispatch)
        self.coordinator_loop.attach(NetworkQueue(self.server, COORDINATOR), coordinator.dispatch, coordinators.look)
        self.controller_loop.attach(NetworkQueue(self.server, CONTROLLER), controller.dispatch)
        self.producer_ids.start()
        for name, loop in (("controller", self.controller_loop), ("coordinator", self.coordinator_loop)):
            thread = NamedThread(target=loop.run, name=name, daemon=True)
            thread.start()
            self.loop_threads.append(thread)
        if self.authentication is not None:
            self.authentication.start()
        if self.config.static.get("password.encoder.secret"):
            from kafka_cy.server.password_renewal import renew_passwords

            self.controller_loop.call_soon_threadsafe(renew_passwords, self)
        log_connections(self.log.writes_debug)
        self.loop.repeat(LOG_EVENTS_INTERVAL_S, self.drain_log_events)
        if self.audit is not None:
            self.loop.repeat(LOG_EVENTS_INTERVAL_S, self._drain_denials)
        self.loop.repeat(QUOTA_EXPIRY_INTERVAL_S, self.quotas.expire)

    def _context(self, loop: ControlLoop) -> ApiContext:
        from kafka_cy.api.context import ApiContext

        arrangement, cluster = self.arrangement, self.cluster
        assert arrangement is not None and cluster is not None
        creations = TopicCreations(loop, self.controller_loop, arrangement.create_on_demand)
        return ApiContext(
            config=self.config,
            cluster=cluster,
            topic_changes=arrangement.topic_changes,
            config_changes=arrangement.config_changes,
            feature_changes=arrangement.feature_changes,
            member=arrangement.member,
            quotas=self.quotas,
            quorum=arrangement.quorum,
            logs=self.logs,
            groups=self.groups,
            transactions=self.transactions,
            share=self.share,
            producer_ids=self.producer_ids,
            delete_waits=self.delete_waits,
            loop=loop,
            slices=Slices(loop, partial(self.on_error, "a long request")),
            broker_id=self.config.broker_id,
            cluster_id=cluster.cluster_id,
            advertised=[(host, port) for _, host, port in self.addresses],
            log=self.log,
            client_telemetry=self._client_telemetry,
            create_topics=creations.create,
            tokens=arrangement.tokens,
            acls=arrangement.acls,
        )

    def _reserve_producer_ids(self, done: Reserved) -> None:
        """Called on the coordinator loop: reserve a block of producer ids, then call `done` there."""
        assert self.arrangement is not None
        self.controller_loop.call_soon_threadsafe(
            self.arrangement.reserve_producer_ids, partial(self.coordinator_loop.call_soon_threadsafe, done)
        )

    def _client_telemetry(self) -> Any:
        if self.client_telemetry is None:
            from kafka_cy.telemetry.client_telemetry import ClientTelemetry

            self.client_telemetry = ClientTelemetry(
                self.cluster, self.loop, self.config["telemetry.max.bytes"],
                lambda error: self.on_error("client telemetry", error),
            )  # fmt: skip
            if self.otel is not None:
                self.client_telemetry.exports.append(self.otel.push)
        return self.client_telemetry

    # -- running and stopping --

    def run(self) -> None:
        """Work until stop(). Raises DataRefused if log directories that the broker needs have failed, ClusterRefused."""
        self._start_control_plane()
        self.loop.run()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Make run() return when what this broker leads is handed over; callable from any thread."""
        if self.arrangement is not None and self.state == RUNNING:
            self.arrangement.leave(self.loop.stop)
        else:
            self.loop.stop()

    def shutdown(self) -> bool:
        """Drain connections, flush and close the logs, end the metadata session. Safe after a failed start, too.

        False: a part of the broker failed to stop. The others were stopped nevertheless.
        """
        from kafka_cy.server.shutdown import shut_down

        self.state = SHUTTING_DOWN
        return shut_down(self)

    def drain_log_events(self) -> None:
        """Write what the reactors reported. Thread: the admin loop's."""
        log_connections(self.log.writes_debug)  # the level may have changed
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

    def drain_denials(self) -> bool:
        """Pass on some of what reactors have denied to the audit. True: there may be more. Thread: the admin loop's."""
        assert self.authorizer is not None
        denials, lost = self.server.take_denials(DENIALS_AT_ONCE)
        self.audit.take_reactor_denials(denials, lost, self.authorizer.rule)
        return len(denials) == DENIALS_AT_ONCE

    def _drain_denials(self, before: int = 0) -> None:
        """In slices. `before`: how many the others in this interval took."""
        taken = before + DENIALS_AT_ONCE
        if self.drain_denials() and taken < DENIALS_PER_INTERVAL_MAX:
            self.loop.call_soon_threadsafe(self._drain_denials, taken)

    def on_error(self, what: str, error: BaseException) -> None:
        """Write a line about a task of the control plane that failed. Any thread."""
        import traceback

        where = "".join(traceback.format_exception(error)[-4:])
        self.log.error("a task of the control plane failed", task=what, error=repr(error), where=where)

    def _on_log_dir_offline(self, path: str, reason: str, lost: list[Any]) -> None:
        """Stop, as Kafka does, if the last log directory or the one with the metadata failed."""
        self.log.error("a log directory failed and is offline", path=path, reason=reason, partitions=len(lost))
        assert self.arrangement is not None
        problem = self.arrangement.log_dir_offline(path, lost)
        if problem is not None:
            self.fail(DataRefused(f"the broker stops: {problem} ({reason})"))
        elif len(self.logs.offline_dirs) == len(self.logs.log_dirs):
            text = f"the broker stops: all log directories have failed; the last one was {path} ({reason})"
            self.fail(DataRefused(text))

    def fail(self, failure: DataRefused | ClusterRefused) -> None:
        """Make run() end with this failure; callable from any thread."""
        self.failure = failure
        self.loop.stop()

    def _on_uncleanable(self, partition: Any, why: str) -> None:
        self.log.error(
            "a log cannot be compacted: it is not compacted again before the next start",
            topic=partition.topic,
            partition=partition.index,
            error=why,
        )

    def on_storage_error(self, topic: str, index: int, error: Exception) -> None:
        """Write a line about a log that cannot be created or deleted."""
        self.log.error("a log cannot be created or deleted", topic=topic, partition=index, error=str(error))

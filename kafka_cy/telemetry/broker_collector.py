"""Metric families with few samples, as prometheus-client Metrics, named by jmx_exporter's rules for Kafka.

Families with a sample per partition or request are written as text in C (`partition_metrics`, `request_metrics`).
Where dialects spell a label in two ways (`networkProcessor`, `networkprocessor`), one series carries both spellings.
Names ending in `_count` (jmx_exporter 0.x) and `_count_total` (1.x) are the same number.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterable

from prometheus_client.core import Metric

from kafka_cy.network import jobs
from kafka_cy.storage.slow_disk import slow_appends
from kafka_cy.telemetry import reactor_numbers
from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.controller_metrics import ControllerMetrics
from kafka_cy.telemetry.coordinator_metrics import coordinator_metrics, group_events, group_memory, group_metrics
from kafka_cy.telemetry.disk_space import DiskSpace
from kafka_cy.telemetry.families import QUANTILES, Samples, both_counts, counter, family, gauge, printable, two_cases
from kafka_cy.telemetry.process_numbers import disk_bytes, memory_bytes, thread_count
from kafka_cy.telemetry.quota_metrics import QuotaMetrics
from kafka_cy.telemetry.replication_metrics import replication_metrics
from kafka_cy.telemetry.request_metrics import RequestMetrics
from kafka_cy.telemetry.runtime_metrics import RuntimeMetrics
from kafka_cy.telemetry.share_metrics import ShareMetrics
from kafka_cy.telemetry.socket_metrics import SocketMetrics
from kafka_cy.telemetry.windows import CountsWindow, Rates

PRODUCE, FETCH, FETCH_FOLLOWER = 0, 1, 128
NS = 1e9
CLEANER_BY_DIRECTORY = ("uncleanable_bytes", "uncleanable_partitions_count")
CLEANER_GAUGES = (
    ("logcleaner_max_clean_time_secs", "max_clean_time_s", "Longest of the threads' last rounds"),
    (
        "logcleaner_max_buffer_utilization_percent",
        "max_buffer_utilization_percent",
        "Fullest of the key tables",
    ),
    ("logcleaner_cleaner_recopy_percent", "cleaner_recopy_percent", "Share of what was read that was kept"),
    ("logcleaner_max_compaction_delay_secs", "max_compaction_delay_s", "Longest overdue compaction"),
    ("logcleaner_deadthreadcount", "dead_thread_count", "Cleaner threads that ended"),
    ("logcleanermanager_max_dirty_percent", "max_dirty_percent", "Dirtiest log"),
    ("logcleanermanager_time_since_last_run_ms", "time_since_last_run_ms", "Since the last round"),
)


class BrokerCollector:
    """Called by prometheus-client at each scrape, on the scraping thread."""

    def __init__(self, view: BrokerView, requests: RequestMetrics, persec: bool) -> None:
        self._view = view
        self._requests = requests
        self._persec = persec
        self._rates = Rates()
        self._sockets = SocketMetrics(view, self._rates)
        self._quotas = QuotaMetrics(view)
        self._shares = ShareMetrics(self._rates, persec)
        self._controller = ControllerMetrics(view, self._rates, persec)
        self._runtimes = RuntimeMetrics(view, self._rates, persec)
        self._disks = DiskSpace()
        self._flushes = CountsWindow()
        self.partition_totals: dict[str, int] = {}  # set by the page before it collects

    def collect(self) -> Iterable[Metric]:
        """Yield each family once."""
        now = time.monotonic()
        yield from self._broker()
        yield from replication_metrics(self.partition_totals, self._view.replication(), self._rates, now)
        yield from self._controller.collect(now)
        yield from self._network(now)
        yield from self._sockets.collect(now)
        yield from self._quotas.collect()
        yield from self._purgatories()
        yield from self._groups_and_sessions(now)
        yield from coordinator_metrics(self._view.load_times_ms(), self._view.transactions())
        yield from self._runtimes.collect(now)
        yield from self._logs(now)
        yield from self._cleaner()
        yield from self._process()
        yield from self._ours()
        yield from self._authorization()

    def _per_second(self, name: str, text: str, samples: Samples) -> Iterable[Metric]:
        """The counter under the other dialect's name, if that dialect is enabled."""
        if self._persec:
            yield family("unknown", name, text, samples)

    # -- the broker as a whole --

    def _broker(self) -> Iterable[Metric]:
        state = self._view.state
        yield gauge("kafka_server_kafkaserver_brokerstate", "1 starting, 2 recovery, 3 running, 7 shutting down", state)
        read, written = disk_bytes()
        yield gauge("kafka_server_kafkaserver_linux_disk_read_bytes", "Bytes read from disks", read)
        yield gauge("kafka_server_kafkaserver_linux_disk_write_bytes", "Bytes written to disks", written)
        for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
            yield gauge(f"kafka_server_kafkaserver_linux_load_avg_{minutes}m", "The machine's load average", load)

    # -- threads and sockets --

    def _network(self, now: float) -> Iterable[Metric]:
        reactors = reactor_numbers.reactors(self._view.server)
        shared = reactor_numbers.shared(self._view.server)
        loops = reactor_numbers.control(self._view.server)
        uptime_s = shared.uptime_ns / NS
        begun = now - uptime_s
        idle = [1 - min(1.0, self._rates.rate(("busy", i), r.busy_ns / NS, now, begun)) for i, r in enumerate(reactors)]
        average = sum(idle) / len(idle)
        socket_server = "kafka_network_socketserver_"
        for name in ("networkprocessoravgidlepercent", "networkprocessoravgidle_percent"):
            yield gauge(socket_server + name, "Idle share of the reactors, 0 to 1", average)
        for name in ("idlepercent", "idle_percent"):
            yield family(
                "gauge",
                f"kafka_network_processor_{name}",
                "Idle share of a reactor, 0 to 1",
                [(two_cases("networkProcessor", str(i)), share) for i, share in enumerate(idle)],
            )
        limited = shared.request_bytes_max < 1 << 62
        yield gauge(socket_server + "memorypoolused", "Bytes of requests in memory", shared.request_bytes)
        yield gauge(
            socket_server + "memorypoolavailable",
            "Bytes of queued.max.request.bytes that are left; -1 without a limit",
            max(0, shared.request_bytes_max - shared.request_bytes) if limited else -1,
        )
        yield gauge(socket_server + "expiredconnectionskilledcount", "0: there are no sessions that expire", 0)
        yield gauge(
            "kafka_network_requestchannel_requestqueuesize",
            "Requests that wait for a control thread",
            sum(loop.queued for loop in loops),
        )
        yield family(
            "gauge",
            "kafka_network_requestchannel_responsequeuesize",
            "Answers and wakes that wait for a reactor",
            [({}, sum(r.mails for r in reactors)), *[({"processor": str(i)}, r.mails) for i, r in enumerate(reactors)]],
        )
        blocked = [
            ({"listener": name}, sum(r.accept_throttle_ns[i] for r in reactors) / len(reactors))
            for i, name in enumerate(self._view.listeners)
        ]
        text = "Nanoseconds for which accepting waited for max.connection.creation.rate, on average of the reactors"
        yield from both_counts("kafka_network_acceptor_acceptorblockedpercent", text, blocked)
        yield from self._per_second("kafka_network_acceptor_acceptorblockedpercent", text, blocked)
        idle_ns = sum(loop.idle_ns for loop in loops) // len(loops)  # average, as for Kafka's request handlers
        yield from self._control_thread(
            idle_ns, uptime_s, self._rates.rate("control", idle_ns / NS, now, begun)
        )

    def _control_thread(self, idle_ns: int, uptime_s: float, idle_share: float) -> Iterable[Metric]:
        name = "kafka_server_kafkarequesthandlerpool_requesthandleravgidle"
        lifetime = min(1.0, idle_ns / NS / uptime_s) if uptime_s else 1.0
        recent = min(1.0, idle_share)
        yield gauge(f"{name}_percent", "Idle share of the control threads since the start, 0 to 1", lifetime)
        yield gauge(f"{name}percent_oneminuterate", "Idle share of the control threads, 0 to 1", recent)
        yield family("unknown", f"{name}percent_total", "Idle share of the control threads, 0 to 1", [({}, recent)])
        yield from both_counts(
            f"{name}percent", "Nanoseconds for which the control threads were idle, on average", [({}, idle_ns)]
        )
        yield from self._per_second(
            f"{name}percent", "Nanoseconds the control threads were idle", [({}, idle_ns)]
        )

    # -- queues and parked requests --

    def _purgatories(self) -> Iterable[Metric]:
        states, _, members = self._view.groups()
        produce, produce_expired = self._requests.parked(PRODUCE)
        consumers, consumers_expired = self._requests.parked(FETCH)
        followers, followers_expired = self._requests.parked(FETCH_FOLLOWER)
        waiting = {
            "Produce": produce,
            "Fetch": consumers + followers,
            "Heartbeat": members,  # each member's session has a deadline
            "Rebalance": states.get(("classic", "PreparingRebalance"), 0),
            "ElectLeader": 0,
            "DeleteRecords": self._view.waiting_deletions(),
            "topic": 0,
            "RemoteFetch": 0,
        }
        samples = [(two_cases("delayedOperation", name), float(count)) for name, count in waiting.items()]
        for name in ("purgatorysize", "numdelayedoperations"):
            yield family("gauge", f"kafka_server_delayedoperationpurgatory_{name}", "Requests that wait", samples)
        expired = [({"fetcherType": "consumer"}, consumers_expired), ({"fetcherType": "follower"}, followers_expired)]
        text = "Requests answered because their time was over"
        yield family("counter", "kafka_server_delayedfetchmetrics_expires", text, expired)
        yield counter("kafka_server_delayedproducemetrics_expires", text, produce_expired)
        yield from self._per_second("kafka_server_delayedfetchmetrics_expirespersec", text, expired)
        yield from self._per_second("kafka_server_delayedproducemetrics_expirespersec", text, [({}, produce_expired)])

    def _events(self, now: float) -> Iterable[Metric]:
        """Of groups, as counts and as rates over the last minute (Kafka: over 30 seconds)."""
        numbers, shares = self._view.group_numbers(), self._view.share_numbers()
        text = "Groups whose commits reactors store, or to whose members' heartbeats they respond"
        yield gauge("kafkacy_open_groups", text, numbers.open_groups)
        yield from group_memory(numbers)
        for name, text, count in group_events(numbers, shares):
            yield gauge(name + "_rate", f"{text} per second, over the last minute", self._rates.rate(name, count, now))
            yield from both_counts(name, f"{text} since the start", [({}, float(count))])
        yield from self._shares.collect(shares, now)

    def _groups_and_sessions(self, now: float) -> Iterable[Metric]:
        counts, offsets, _ = self._view.groups()
        yield from group_metrics(counts, offsets)
        yield from self._events(now)
        count, partitions = self._view.share_sessions()
        prefix = "kafka_server_sharesessioncache_"
        yield gauge(prefix + "sharesessionscount", "Share sessions (KIP-932)", count)
        yield gauge(prefix + "sharepartitionscount", "Share partitions in share sessions", partitions)
        sessions = self._view.fetch_sessions()
        prefix = "kafka_server_fetchsessioncache_"
        yield gauge(prefix + "numincrementalfetchsessions", "Fetch sessions", sessions["sessions"])
        yield gauge(prefix + "numincrementalfetchpartitionscached", "Partitions in sessions", sessions["partitions"])
        text = "Sessions that gave way to others"
        yield counter(prefix + "incrementalfetchsessionevictions", text, sessions["evictions"])
        yield from self._per_second(
            prefix + "incrementalfetchsessionevictionspersec", text, [({}, float(sessions["evictions"]))]
        )

    # -- logs --

    def _logs(self, now: float) -> Iterable[Metric]:
        (paths, failed), cordoned = self._view.log_dirs(), self._view.cordoned_dirs()
        prefix = "kafka_log_logmanager_"
        yield gauge(prefix + "offlinelogdirectorycount", "Log directories that failed", len(failed))
        yield gauge(prefix + "cordonedlogdirectorycount", "Log directories that get no new partitions (KIP-1066)", len(cordoned))
        for name, text, chosen in (("offline", "failed", failed), ("cordoned", "gets no new partitions", cordoned)):
            yield family(
                "gauge",
                f"{prefix}logdirectory{name}",
                f"1: the log directory {text}",
                [(two_cases("logDirectory", f'"{printable(path)}"'), float(path in chosen)) for path in paths],
            )
        yield from self._disk_space([path for path in paths if path not in failed])
        slow = [({"log_directory": printable(path)}, slow_appends(path)) for path in paths]
        yield family(
            "counter", "kafkacy_slow_appends", "Appends that the log directory's disk held up for 4 ms or more",
            [(labels, float(count)) for labels, (count, _) in slow],
        )  # fmt: skip
        yield family(
            "gauge", "kafkacy_log_directory_slow", "1: the disk is slow, so appends leave the reactors",
            [(labels, float(now_slow)) for labels, (_, now_slow) in slow],
        )  # fmt: skip
        counts = reactor_numbers.flush_counts()
        window = self._flushes.recent(counts, now)
        unit = reactor_numbers.ms_per_tick(self._view.server)
        name, text = "kafka_log_logflushstats_logflushrateandtimems", "Milliseconds of a log's flush"
        samples = [({"quantile": label}, unit * reactor_numbers.quantile(window, q)) for q, label in QUANTILES]
        total = sum(counts)
        if self._persec:
            samples.append(({}, total))
        yield family("gauge", name, text, samples)
        yield from both_counts(name, "Log flushes", [({}, total)])

    def _disk_space(self, paths: list[str]) -> Iterable[Metric]:
        """Two directories on one file system show the same numbers: do not add them up."""
        sizes = self._disks.sizes(paths)
        for i, (name, text) in enumerate((
            ("total", "Size of the log directory's file system"),
            ("usable", "Bytes that the broker may still write to the log directory's file system"),
        )):
            samples = [({"log_directory": printable(path)}, float(both[i])) for path, both in sizes.items()]
            yield family("gauge", f"kafkacy_log_dir_{name}_bytes", text, samples)

    def _cleaner(self) -> Iterable[Metric]:
        stats = self._view.cleaner()
        if not stats:  # nothing is compacted yet: Kafka's cleaner has run since the start, and found nothing
            uptime_ms = reactor_numbers.shared(self._view.server).uptime_ns / 1e6
            paths, failed = self._view.log_dirs()
            nothing = {path: 0.0 for path in paths if path not in failed}
            stats = {
                **dict.fromkeys((key for _, key, _ in CLEANER_GAUGES), 0.0),
                "time_since_last_run_ms": uptime_ms,
                **dict.fromkeys(CLEANER_BY_DIRECTORY, nothing),
            }
        for name, key, text in CLEANER_GAUGES:
            yield gauge(f"kafka_log_{name}", text, stats[key])
        for name in CLEANER_BY_DIRECTORY:
            samples = [
                (two_cases("logDirectory", printable(path)), float(value)) for path, value in stats[name].items()
            ]
            yield family(
                "gauge", f"kafka_log_logcleanermanager_{name}", "What cannot be cleaned, by directory", samples
            )

    # -- the process --

    def _process(self) -> Iterable[Metric]:
        """JVM metric names that dashboards select on, where we have an equivalent: the process's memory and threads.

        `heap` is the resident set; its maximum is the limit of the machine or control group. There are no other areas.
        """
        resident, allowed = memory_bytes()
        area = {"area": "heap"}
        for names, text, value in (
            (("jvm_memory_bytes_used", "jvm_memory_used_bytes"), "Resident memory of the process", resident),
            (("jvm_memory_bytes_committed", "jvm_memory_committed_bytes"), "Resident memory of the process", resident),
            (("jvm_memory_bytes_max", "jvm_memory_max_bytes"), "Memory that the process may take", allowed),
        ):
            for name in names:
                yield family("gauge", name, text, [(area, value)])
        yield gauge("jvm_threads_current", "Threads of the process, native ones too", thread_count())
        yield gauge("jvm_threads_daemon", "Python's daemon threads", sum(t.daemon for t in threading.enumerate()))
        # There is no JVM, but six dashboards take their variables from jvm_info (jmx_exporter 1.x: jvm_runtime_info).
        runtime = {
            "runtime": f"kafka-cy {self._view.version}",
            "vendor": platform.python_implementation(),
            "version": platform.python_version(),
        }
        for name in ("jvm_info", "jvm_runtime_info"):
            yield family("gauge", name, "What runs the broker", [(runtime, 1)])

    def _authorization(self) -> Iterable[Metric]:
        numbers = self._view.authorization()
        if numbers is None:
            return
        yield counter("kafkacy_authorization_denied", "Requests that the authorizer denied", numbers["denied"])
        yield counter("kafkacy_audit_lines_dropped", "Lines that kafkacy.audit.log did not get", numbers["dropped"])
        yield gauge("kafka_server_authorizer_metrics_acls_total_count", "ACLs", numbers["acls"])

    def _ours(self) -> Iterable[Metric]:
        counters = self._view.server.counters()
        yield gauge(
            "kafkacy_queued_response_bytes", "Memory of responses not taken yet", counters["queued_response_bytes"]
        )
        yield gauge(
            "kafkacy_parked_request_bytes", "Memory of requests that wait for data or a time-out", counters["parked_bytes"]
        )
        sessions = self._view.fetch_sessions()
        yield gauge("kafkacy_fetch_session_bytes", "Memory of fetch sessions", sessions["bytes"])
        yield counter(
            "kafkacy_fetch_sessions_refused", "Fetch sessions refused or closed because a limit was reached", sessions["refused"]
        )
        standing = self._view.standing_fetches()
        yield gauge("kafkacy_standing_fetch_bytes", "Memory of standing fetches, of that of sessions", standing["bytes"])
        for key, text in (
            ("built", "Standing fetches that were made for sessions with many partitions"),
            ("taken", "Fetch requests that a standing fetch answered"),
            ("refused", "Fetch requests that looked at all partitions, because there was no memory for a standing fetch"),
        ):
            yield counter(f"kafkacy_standing_fetches_{key}", text, standing[key])
        waiting = [({"kind": kind}, float(count)) for kind, count in jobs.waiting_by_kind().items()]
        yield family("gauge", "kafkacy_jobs_waiting", "Work of requests that waits for a thread", waiting)
        for name, key, text in (
            ("connections_accepted", "accepted", "Client connections accepted"),
            ("connections_refused", "refused", "Client connections refused by a limit"),
            ("connections_closed_idle", "closed_idle", "Client connections closed after connections.max.idle.ms"),
            ("connections_closed_excess", "closed_excess", "Client connections closed because of max.connections"),
            ("connections_closed_bad_input", "closed_bad", "Client connections closed because of malformed input"),
            ("network_bytes_in", "bytes_in", "Bytes received from clients"),
            ("network_bytes_out", "bytes_out", "Bytes sent to clients"),
            ("requests_forwarded", "forwarded", "Requests that went to a control thread"),
            ("reads_paused", "paused", "Times a socket was not read: memory, in flight, slow reader"),
            ("slow_requests", "slow", "Requests over kafkacy.slow.request.log.threshold.ms"),
        ):
            yield counter(f"kafkacy_{name}", text, counters[key])
        yield counter(
            "kafkacy_reactor_busy_seconds", "Time in which reactors worked, all together", counters["busy_ns"] / NS
        )

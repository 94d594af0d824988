"""The controller and the metadata store, under the names of KafkaController, ZooKeeper's client and KRaft's quorum."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from kafka_cy.telemetry import reactor_numbers
from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.families import QUANTILES, both_counts, counter, family, gauge
from kafka_cy.telemetry.windows import Rates

NS = 1e9
SESSION_EVENTS = {
    "disconnects": "Lost connections to ZooKeeper",
    "expires": "Sessions in ZooKeeper that have ended: the broker was none for the others until it had registered again",
    "syncconnects": "Connections to ZooKeeper",
    "authfailures": "Failed authentications at ZooKeeper",
    "readonlyconnects": "Connections to a ZooKeeper server without a quorum",
    "saslauthentications": "SASL authentications at ZooKeeper",
}


def quantiles_of(times: list[float]) -> list[tuple[dict[str, str], float]]:
    """The samples of a family of quantiles. `times` is sorted; empty: all are 0."""
    return [
        ({"quantile": label}, times[min(len(times) - 1, int(wanted * len(times)))] if times else 0.0)
        for wanted, label in QUANTILES
    ]


class ControllerMetrics:
    """Owner: the thread that scrapes. `persec`: adds the names of the other dialect."""

    def __init__(self, view: BrokerView, rates: Rates, persec: bool) -> None:
        self._view = view
        self._rates = rates
        self._persec = persec

    def collect(self, now: float) -> Iterable[Metric]:
        """Yield each family once; `now` is the monotonic time in seconds."""
        yield from self._controller()
        yield from self._events()
        changes, times_ms = self._view.metadata_changes()
        times_ms.sort()
        yield from self._metadata_store(changes, times_ms)
        yield from self._raft(now, changes, times_ms)

    def _controller(self) -> Iterable[Metric]:
        topics, partitions, offline, unpreferred = self._view.topics()
        counts = self._view.controller_counts()
        prefix = "kafka_controller_kafkacontroller_"
        for name, text, value in (
            ("activecontrollercount", "1: this broker is the controller", counts.active),
            ("offlinepartitionscount", "Partitions without a leader", offline),
            ("preferredreplicaimbalancecount", "Partitions not led by their first replica", unpreferred),
            ("globaltopiccount", "Topics", topics),
            ("globalpartitioncount", "Partitions of all topics", partitions),
            ("activebrokercount", "Brokers in service", counts.brokers),
            ("fencedbrokercount", "Brokers out of service", 0),
            ("metadataerrorcount", "Errors in handling metadata", 0),
            ("lastappliedrecordlagms", "0: a change is applied at once", 0),
            # Only two dashboards need it: they take their job and instance variables from it.
            ("controllerstate", "0: idle", 0),
            ("topicstodeletecount", "Topics that the controller deletes", counts.topics_to_delete),
            ("replicastodeletecount", "Replicas of topics that the controller deletes", counts.replicas_to_delete),
            ("topicsineligibletodeletecount", "Topics whose deletion waits for a broker", counts.ineligible_topics),
            ("replicasineligibletodeletecount", "Replicas whose deletion waits", counts.ineligible_replicas),
        ):
            yield gauge(prefix + name, text, value)
        prefix = "kafka_controller_controllerstats_"
        text, unclean = "Elections of a leader that was not in sync", counts.unclean_elections
        yield counter(prefix + "uncleanleaderelections", text, unclean)
        # Alerts of Confluent's and Grafana's dialect compare this count with 0: it may be shown only while it is 0.
        if unclean == 0:
            yield family("unknown", prefix + "uncleanleaderelectionspersec", text, [({}, 0)])
        # Strimzi's Metrics Reporter. Not a counter: for OpenMetrics, its family would have the name above.
        yield family("unknown", prefix + "uncleanleaderelectionspersec_total", text, [({}, unclean)])
        text = "Elections of leaders by this broker as the controller"
        yield from both_counts(prefix + "leaderelectionrateandtimems", text, [({}, counts.elections)])

    def _events(self) -> Iterable[Metric]:
        """The controller's loop. An event is a request, a call from another thread, or a timer that is due."""
        count, waited_ms, worked_ms = self._view.controller_events()
        for name, text, times in (
            ("eventqueuetimems", "Milliseconds that an event waited for the controller's thread", waited_ms),
            ("eventqueueprocessingtimems", "Milliseconds that the controller's thread worked on an event", worked_ms),
        ):
            full = f"kafka_controller_controllereventmanager_{name}"
            yield family("gauge", full, f"{text}, of the latest {len(times)}", quantiles_of(sorted(times)))
            yield from both_counts(full, text, [({}, count)])

    def _metadata_store(self, count: int, times: list[float]) -> Iterable[Metric]:
        """Metadata store metrics under ZooKeeper client's names: one request is one change of the metadata tree."""
        name = "kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms"
        state, events = self._view.session_state(), self._view.session_events()
        what = "Changes of the metadata tree, in the broker's own store" if state is None else "Requests to ZooKeeper"
        yield family("gauge", name, f"{what}: milliseconds, of the latest {len(times)}", quantiles_of(times))
        yield from both_counts(name, what, [({}, count)])
        own = "0: metadata lies in the broker's own store, there is no ZooKeeper session"
        for event, text in SESSION_EVENTS.items():
            name = f"kafka_server_sessionexpirelistener_zookeeper{event}"
            value = events.get(event, 0)
            yield counter(name, own if state is None else text, value)
            if self._persec:
                yield family("unknown", f"{name}persec", own if state is None else text, [({}, value)])
        if state is not None:
            text = "1: the state of the session in ZooKeeper"
            yield family("gauge", "kafka_server_sessionexpirelistener_sessionstate", text, [({"state": state}, 1)])

    def _raft(self, now: float, changes: int, times_ms: list[float]) -> Iterable[Metric]:
        """KRaft's raft-metrics, as far as a quorum of one has an answer. An offset counts the changes since the start.

        Nothing is fetched, elected or sent: those are 0. Both spellings: jmx_exporter's example rules have raft_metrics,
        Strimzi's raftmetrics.
        """
        begun = now - reactor_numbers.shared(self._view.server).uptime_ns / NS
        values = (
            ("current_leader", "Id of the controller", self._view.broker_id),
            ("current_vote", "Id of the controller", self._view.broker_id),
            ("current_epoch", "Epoch of the controller", self._view.controller_epoch()),
            ("high_watermark", "Changes of the metadata tree since the start", changes),
            ("log_end_offset", "Changes of the metadata tree since the start", changes),
            ("log_end_epoch", "Epoch of the controller", self._view.controller_epoch()),
            (
                "append_records_rate",
                "Changes of the metadata tree a second",
                self._rates.rate("changes", changes, now, begun),
            ),
            ("fetch_records_rate", "0: no other node has metadata", 0),
            (
                "commit_latency_avg",
                "Milliseconds of the latest changes",
                sum(times_ms) / len(times_ms) if times_ms else 0,
            ),
            ("commit_latency_max", "Milliseconds of the latest changes", times_ms[-1] if times_ms else 0),
            ("election_latency_avg", "0: there is no other candidate", 0),
            ("election_latency_max", "0: there is no other candidate", 0),
            ("number_unknown_voter_connections", "0: there is no other voter", 0),
        )
        for prefix in ("raftmetrics", "raft_metrics"):
            for name, text, value in values:
                yield gauge(f"kafka_server_{prefix}_{name}", text, value)
        state = {"state": "leader", "current_state": "leader"}
        for name in ("raftmetrics_current_state", "raft_metrics_current_state", "raft_metrics_current_state_info"):
            yield family("gauge", f"kafka_server_{name}", "1: the state of this node", [(state, 1)])
        for prefix in ("raftchannelmetrics", "raft_channel_metrics"):
            for name in ("incoming_byte", "outgoing_byte", "request", "response"):
                yield counter(f"kafka_server_{prefix}_{name}", "0: there is no other node", 0)

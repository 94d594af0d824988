"""One broker, or several side by side: its work, its threads, its limits."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import BROKER, CORES, ONCE, RATE, board, folded, instance_variable, lines, number, quiet

TOPICS = "kafka_server_brokertopicmetrics"
REPLICAS = "kafka_server_replicamanager"
CONTROLLER = "kafka_controller"
SESSION = "kafka_server_sessionexpirelistener"
STATES = {
    0: ("not running", "red"),
    1: ("starting", "orange"),
    2: ("recovery", "orange"),
    3: ("running", "green"),
    6: ("controlled shutdown", "orange"),
    7: ("shutting down", "orange"),
    127: ("unknown", "red"),
}
PROCESS = 'and on (instance) kafka_server_kafkaserver_brokerstate{kafka_cluster=~"$kafka_cluster"}'


def build() -> Dashboard:
    """The board."""
    return (
        board("broker", "Kafka broker", "What each broker does and what it runs out of.", instance_variable())
        .with_panel(
            number(
                "State",
                f"min(kafka_server_kafkaserver_brokerstate{{{BROKER}}})",
                text="BrokerState; with several brokers, the lowest.",
                colours=((None, "red"), (3, "green"), (4, "orange")),
                states=STATES,
            )
        )
        .with_panel(
            number(
                "Uptime",
                f"time() - max(process_start_time_seconds{{{BROKER}}} {PROCESS})",
                unit="s",
                text="Of the broker that started last.",
            )
        )
        .with_panel(number("Leaders", f"sum({REPLICAS}_leadercount{{{BROKER}}})", text="Partitions led here."))
        .with_panel(number("Replicas", f"sum({REPLICAS}_partitioncount{{{BROKER}}})", text="Led and followed."))
        .with_panel(
            number(
                "File descriptors",
                f"max(process_open_fds{{{BROKER}}} / process_max_fds {PROCESS})",
                unit="percentunit",
                colours=((None, "green"), (0.8, "red")),
                text="Open files and connections; at 100 % the broker refuses connections.",
            )
        )
        .with_panel(
            number(
                "Memory",
                f"sum(process_resident_memory_bytes{{{BROKER}}} {PROCESS})",
                unit="bytes",
                text="Resident memory of the process. The page cache, which holds the logs, is not in it.",
            )
        )
        .with_panel(
            lines(
                "Messages in",
                (f'sum by (instance) (rate({TOPICS}_messagesin_total{{{BROKER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="mps",
                span=8,
                text="Records produced.",
            )
        )
        .with_panel(
            lines(
                "Bytes in",
                (f'sum by (instance) (rate({TOPICS}_bytesin_total{{{BROKER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="Bps",
                span=8,
                text="From producers, compressed as stored.",
            )
        )
        .with_panel(
            lines(
                "Bytes out",
                (f'sum by (instance) (rate({TOPICS}_bytesout_total{{{BROKER},topic=""}}[{RATE}]))', "{{instance}}"),
                unit="Bps",
                span=8,
                text="To consumers, compressed as stored.",
            )
        )
        .with_panel(
            lines(
                "CPU",
                (f"rate(process_cpu_seconds_total{{{BROKER}}}[{RATE}]) {PROCESS}", "{{instance}}"),
                unit=CORES,
                text="Of the process, native threads too.",
            )
        )
        .with_panel(
            lines(
                "Threads idle",
                (f"kafka_network_socketserver_networkprocessoravgidlepercent{{{BROKER}}}", "{{instance}} network"),
                (
                    f"kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent{{{BROKER}}}",
                    "{{instance}} request handlers, since the start",
                ),
                unit="percentunit",
                most=1,
                text="In kafka-cy the reactors are both network and handler for the hot requests.",
            )
        )
        .with_panel(
            lines(
                "Requests",
                (
                    f"""topk(10, sum by (request) (
                        rate(kafka_network_requestmetrics_requests_total{{{BROKER},{ONCE}}}[{RATE}])))""",
                    "{{request}}",
                ),
                unit="reqps",
                stacked=True,
                text="The ten most frequent kinds. Fetches are split into those of consumers and of followers.",
            )
        )
        .with_panel(
            lines(
                "Errors answered",
                (
                    quiet(
                        f"""sum by (request, error) (
                        rate(kafka_network_requestmetrics_errors_total{{{BROKER},error!="NONE"}}[{RATE}])) > 0""",
                        "request",
                    ),
                    "{{request}} {{error}}",
                ),
                unit="reqps",
                text="Error codes in responses, one for each partition, topic or group.",
            )
        )
        .with_panel(
            lines(
                "Connections",
                (
                    f"sum by (instance, listener) (kafka_server_socketservermetrics_connection_count{{{BROKER}}})",
                    "{{instance}} {{listener}}",
                ),
                text="Open now, by listener.",
            )
        )
        .with_panel(
            lines(
                "Connections opened",
                (
                    f"""sum by (instance) (
                        kafka_server_socketservermetrics_connection_creation_rate{{{BROKER}}})""",
                    "{{instance}}",
                ),
                unit="ops",
                text="Clients that connect for every message show here.",
            )
        )
        .with_panel(
            lines(
                "Purgatory",
                (
                    f"""sum by (delayedOperation) (kafka_server_delayedoperationpurgatory_purgatorysize{{
                        {BROKER},delayedOperation=~"Produce|Fetch|Rebalance"}})""",
                    "{{delayedOperation}}",
                ),
                text="Requests that wait. Fetch: for data. Produce: for followers or an fsync. Rebalance: for members.",
            )
        )
        .with_panel(
            lines(
                "Queues",
                (
                    f"sum by (instance) (kafka_network_requestchannel_requestqueuesize{{{BROKER}}})",
                    "{{instance}} requests",
                ),
                (
                    f"""sum by (instance) (
                        kafka_network_requestchannel_responsequeuesize{{{BROKER},processor=""}})""",
                    "{{instance}} responses",
                ),
                text="Requests that wait for a control thread, and responses that wait for a reactor.",
            )
        )
        .with_panel(
            lines(
                "Fetch sessions",
                (
                    f"sum by (instance) (kafka_server_fetchsessioncache_numincrementalfetchsessions{{{BROKER}}})",
                    "{{instance}}",
                ),
                text="Incremental fetch sessions (KIP-227), at most max.incremental.fetch.session.cache.slots.",
            )
        )
        .with_panel(
            lines(
                "Jobs waiting",
                (f"sum by (kind) (kafkacy_jobs_waiting{{{BROKER}}})", "{{kind}}"),
                text="Work of requests that waits for the threads of num.io.threads.",
            )
        )
        .with_row(
            folded(
                "Replication and ZooKeeper",
                lines(
                    "ISR shrinks and expands",
                    (
                        f"sum by (instance) (rate({REPLICAS}_isrshrinks_total{{{BROKER}}}[{RATE}]))",
                        "{{instance}} shrink",
                    ),
                    (
                        f"sum by (instance) (rate({REPLICAS}_isrexpands_total{{{BROKER}}}[{RATE}]))",
                        "{{instance}} expand",
                    ),
                    unit="ops",
                    text="Zero unless a broker comes, goes or is slow.",
                ),
                lines(
                    "Replica max lag",
                    (
                        f'kafka_server_replicafetchermanager_maxlag{{{BROKER},clientId="Replica"}}',
                        "{{instance}}",
                    ),
                    text="Records that the slowest follower on this broker has still to copy.",
                ),
                lines(
                    "Replicas that are missing",
                    (f"{REPLICAS}_underreplicatedpartitions{{{BROKER}}}", "{{instance}} under-replicated"),
                    (f"{REPLICAS}_underminisrpartitioncount{{{BROKER}}}", "{{instance}} under min.insync.replicas"),
                    (f"{REPLICAS}_atminisrpartitioncount{{{BROKER}}}", "{{instance}} at min.insync.replicas"),
                    (f"{REPLICAS}_reassigningpartitions{{{BROKER}}}", "{{instance}} reassigned"),
                    text="Partitions that the broker leads. Those under min.insync.replicas refuse acks=all, those at it"
                    " would with one replica less.",
                ),
                lines(
                    "Replication",
                    (f"sum by (instance) (rate({TOPICS}_replicationbytesin_total{{{BROKER}}}[{RATE}]))", "{{instance}} in"),
                    (f"sum by (instance) (rate({TOPICS}_replicationbytesout_total{{{BROKER}}}[{RATE}]))", "{{instance}} out"),
                    unit="Bps",
                    text="Record batches that the broker copies from leaders, and that followers copy from it.",
                ),
                lines(
                    "Replication errors",
                    (
                        f'kafka_server_replicafetchermanager_failedpartitionscount{{{BROKER},clientId="Replica"}}',
                        "{{instance}} not fetched",
                    ),
                    (
                        f"sum by (instance) (rate({REPLICAS}_failedisrupdates_total{{{BROKER}}}[{RATE}]))",
                        "{{instance}} ISR changes refused",
                    ),
                    text="Partitions that are not copied after an error; changes of an ISR that the controller refused, a second.",
                ),
                lines(
                    "Leader elections",
                    (
                        f"""sum by (instance) (
                            rate({CONTROLLER}_controllerstats_leaderelectionrateandtimems_count{{{BROKER}}}[{RATE}]))""",
                        "{{instance}}",
                    ),
                    unit="ops",
                    text="By the broker while it is the controller.",
                ),
                lines(
                    "Controller events p99",
                    (
                        f'{CONTROLLER}_controllereventmanager_eventqueuetimems{{{BROKER},quantile="0.99"}}',
                        "{{instance}} wait",
                    ),
                    (
                        f'{CONTROLLER}_controllereventmanager_eventqueueprocessingtimems{{{BROKER},quantile="0.99"}}',
                        "{{instance}} work",
                    ),
                    unit="ms",
                    text="How long events wait for the controller's thread, and how long it works on them.",
                ),
                lines(
                    "ZooKeeper session",
                    (
                        f"sum by (instance) (increase({SESSION}_zookeeperdisconnects_total{{{BROKER}}}[{RATE}]))",
                        "{{instance}} disconnects",
                    ),
                    (
                        f"sum by (instance) (increase({SESSION}_zookeeperexpires_total{{{BROKER}}}[{RATE}]))",
                        "{{instance}} expired",
                    ),
                    text="Lost connections, and sessions that ended: the broker was out of the cluster until it registered again.",
                ),
                lines(
                    "ZooKeeper session state",
                    (
                        f"sum by (instance, state) ({SESSION}_sessionstate{{{BROKER}}})",
                        "{{instance}} {{state}}",
                    ),
                    text="CONNECTED, or CONNECTING while no server of the ensemble is reached. Empty without ZooKeeper.",
                ),
                lines(
                    "ZooKeeper request latency p99",
                    (
                        f'kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms{{{BROKER},quantile="0.99"}}',
                        "{{instance}}",
                    ),
                    unit="ms",
                    text="Without ZooKeeper: the time of a change of the metadata in the broker's own store.",
                ),
            )
        )
    )

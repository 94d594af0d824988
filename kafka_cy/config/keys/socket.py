"""Keys of connections, requests and the threads that serve them."""

from typing import Final

from kafka_cy.config.types import Entry

_PURGATORY: Final = "ignored: kafka-cy removes a completed request at once and needs no purge"

KEYS: Final[tuple[Entry, ...]] = (
    ("background.threads", "INT", "10", "cluster-wide",
     ("at_least", 1), "HIGH", "config",
     "Number of threads that flush logs in the background, at most 64. If the key is not set: 2. Threads that run already "
     "stay when the number is lowered."),
    ("connection.failed.authentication.delay.ms", "INT", "100", "read-only",
     ("at_least", 0), "LOW", "server",
     "Delay before a client whose SASL authentication fails gets its response, and is disconnected. A connection whose TLS "
     "handshake fails is closed at once."),
    ("connections.max.idle.ms", "LONG", "600000", "read-only", None, "MEDIUM", "server",
     "An idle connection is closed after this time."),
    ("delete.records.purgatory.purge.interval.requests", "INT", "1", "read-only", None, "MEDIUM", _PURGATORY,
     "Purge interval of waiting DeleteRecords requests, in requests."),
    ("fetch.max.bytes", "INT", "57671680", "read-only", ("at_least", 1024), "MEDIUM", "server",
     "Maximum size of a fetch response. A larger first batch is still sent whole."),
    ("fetch.purgatory.purge.interval.requests", "INT", "1000", "read-only", None, "MEDIUM", _PURGATORY,
     "Purge interval of waiting Fetch requests, in requests."),
    ("max.connection.creation.rate", "INT", "2147483647", "cluster-wide",
     ("at_least", 0), "MEDIUM", "server",
     "Maximum number of new connections per second. Further connections wait in the backlog of their listener. Those "
     "between brokers do not count in a cluster, if they have a listener of their own. A listener can have its own limit too: "
     "listener.name.<listener>.max.connection.creation.rate."),
    ("max.connections", "INT", "2147483647", "cluster-wide", ("at_least", 0), "MEDIUM", "server",
     "Maximum number of connections. Those between brokers are not refused in a cluster, if they have a listener of their "
     "own: the connection of another listener that is idle for longest is closed. A listener can have its own limit too: "
     "listener.name.<listener>.max.connections, above which new connections are refused, also those of brokers."),
    ("max.connections.per.ip", "INT", "2147483647", "cluster-wide", ("at_least", 0), "MEDIUM", "server",
     "Maximum number of connections from one IP address. 0 is allowed only together with "
     "max.connections.per.ip.overrides and admits only the addresses listed there."),
    ("max.connections.per.ip.overrides", "STRING", "", "cluster-wide", None, "MEDIUM", "server",
     "Limits of single addresses in place of max.connections.per.ip, as host:number, separated by commas."),
    ("max.incremental.fetch.session.cache.slots", "INT", "1000", "read-only", ("at_least", 0), "MEDIUM", "server",
     "Maximum number of fetch sessions."),
    ("max.request.partition.size.limit", "INT", "2000", "read-only", ("at_least", 1), "MEDIUM", "api",
     "Maximum number of partitions in one DescribeTopicPartitions response."),
    ("num.io.threads", "INT", "8", "cluster-wide",
     ("at_least", 1), "HIGH", "server",
     "Number of threads for work that would hold up a network thread: reading data that is not in memory, and, with at "
     "most one thread for each core but one, decompressing and recompressing large batches, looking up offsets by time, "
     "and TLS handshakes. Applied at start."),
    ("num.network.threads", "INT", "3", "cluster-wide", ("at_least", 1), "HIGH", "config",
     "Number of network threads (reactors). They serve connections and answer the frequent requests. If the key is "
     "not set, one core stays free: the number is at most the number of cores minus one."),
    ("producer.purgatory.purge.interval.requests", "INT", "1000", "read-only", None, "MEDIUM", _PURGATORY,
     "Purge interval of waiting Produce requests, in requests."),
    ("queued.max.request.bytes", "LONG", "-1", "read-only", None, "MEDIUM", "config",
     "Memory limit for requests that are being received or wait. -1: kafkacy.queued.max.request.bytes."),
    ("queued.max.requests", "INT", "500", "read-only",
     ("at_least", 1), "HIGH", "server",
     "Maximum number of requests that wait for a control thread (requests for topics, configurations and groups), and for "
     "the threads of each kind of work of num.io.threads: of those, the clients of one address may use 1/64, at least one. "
     "Further requests are not read."),
    ("socket.listen.backlog.size", "INT", "50", "read-only", ("at_least", 1), "MEDIUM", "config",
     "Number of connections that may wait to be accepted. If the key is not set: 1024."),
    ("socket.receive.buffer.bytes", "INT", "102400", "read-only", None, "HIGH", "config",
     "Receive buffer of a client's socket. If the key is not set or -1, the operating system sizes the buffer."),
    ("socket.request.max.bytes", "INT", "104857600", "read-only", ("at_least", 1), "HIGH", "server",
     "Maximum size of a request. A larger request closes its connection."),
    ("socket.send.buffer.bytes", "INT", "102400", "read-only", None, "HIGH", "server",
     "Send buffer of a client's socket. -1: the operating system sizes the buffer. A larger buffer carries more "
     "over a long distance; over a short one it costs CPU time (docs/benchmarks.md)."),
    ("telemetry.max.bytes", "INT", "1048576", "read-only", ("at_least", 1), "LOW", "server",
     "Maximum size of a client's metrics message (KIP-714)."),
)

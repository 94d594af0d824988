"""A sentence on every broker key from a to l (exclusive of `log.`); loaded only when somebody asks for it."""

from typing import Final

TEXTS: Final[dict[str, str]] = {
    "add.partitions.to.txn.retry.backoff.max.ms": "Longest pause between attempts to add partitions to a transaction.",
    "add.partitions.to.txn.retry.backoff.ms": "First pause between attempts to add partitions to a transaction.",
    "advertised.listeners": (
        "Addresses told to clients where they differ from those in listeners; unset means listeners."
    ),
    "alter.config.policy.class.name": "Java class that judges configuration changes; not supported here.",
    "alter.log.dirs.replication.quota.window.num": "Samples kept to measure the rate of moves between log directories.",
    "alter.log.dirs.replication.quota.window.size.seconds": "Length of one of those samples, in seconds.",
    "authorizer.class.name": "Java class that decides who may do what; empty lets everybody do everything.",
    "auto.create.topics.enable": "Whether a topic comes into being when a client first asks for it.",
    "auto.leader.rebalance.enable": "Whether leadership is moved back to preferred replicas from time to time.",
    "background.threads": "Threads for chores such as deleting files.",
    "broker.heartbeat.interval.ms": "How often a KRaft broker reports to its controller; without meaning here.",
    "broker.id": "Older name of node.id.",
    "broker.rack": "Rack or zone of this broker: replicas are spread over racks, consumers may read from their own.",
    "broker.session.timeout.ms": "After this silence a KRaft controller takes a broker for dead; without meaning here.",
    "client.quota.callback.class": "Java class that computes client quotas; not supported here.",
    "compression.gzip.level": (
        "Level used when batches are recompressed with gzip, from 1 (fast) to 9 (small); -1 is zlib's own."
    ),
    "compression.lz4.level": "Level used when batches are recompressed with lz4, from 1 (fast) to 17 (small).",
    "compression.type": "Codec in which batches are stored; producer keeps what the client chose.",
    "compression.zstd.level": (
        "Level used when batches are recompressed with zstd; below zero is faster, above is smaller."
    ),
    "config.providers": "Names of Java providers of configuration values; not supported here.",
    "connection.failed.authentication.delay.ms": (
        "How long a connection that failed to authenticate is held before it closes."
    ),
    "connections.max.idle.ms": "A connection that was silent for this long is closed.",
    "connections.max.reauth.ms": "Time after which a SASL client has to authenticate again; 0 means never.",
    "controlled.shutdown.enable": "Whether leadership is handed over before the broker stops.",
    "controller.listener.names": "Listeners of a KRaft controller; those are not opened here.",
    "controller.quorum.append.linger.ms": "How long a KRaft leader gathers writes; without meaning here.",
    "controller.quorum.auto.join.enable": (
        "Whether a KRaft controller joins its quorum by itself; without meaning here."
    ),
    "controller.quorum.bootstrap.servers": "Addresses of KRaft controllers; taken silently, without meaning here.",
    "controller.quorum.election.backoff.max.ms": "Longest pause between KRaft elections; without meaning here.",
    "controller.quorum.election.timeout.ms": "Patience of a KRaft candidate; without meaning here.",
    "controller.quorum.fetch.max.bytes": "Most bytes of one KRaft fetch; without meaning here.",
    "controller.quorum.fetch.snapshot.max.bytes": "Most bytes of one KRaft snapshot fetch; without meaning here.",
    "controller.quorum.fetch.timeout.ms": "Silence of the KRaft leader that starts an election; without meaning here.",
    "controller.quorum.request.timeout.ms": "Patience for a KRaft answer; without meaning here.",
    "controller.quorum.retry.backoff.ms": "Pause before a KRaft request is sent again; without meaning here.",
    "controller.quorum.voters": "Members of a KRaft quorum; taken silently, without meaning here.",
    "controller.quota.window.num": "Samples kept to measure the rate of topic changes.",
    "controller.quota.window.size.seconds": "Length of one of those samples, in seconds.",
    "controller.socket.timeout.ms": "Patience on connections between the controller and brokers.",
    "cordoned.log.dirs": "Log directories that get no new partitions.",
    "create.topic.policy.class.name": "Java class that judges new topics; not supported here.",
    "default.replication.factor": "Replicas of a topic that is created without saying how many.",
    "delegation.token.expiry.check.interval.ms": "How often expired delegation tokens are removed.",
    "delegation.token.expiry.time.ms": "Time after which a delegation token has to be renewed.",
    "delegation.token.max.lifetime.ms": "Age that no delegation token can outlive, renewed or not.",
    "delegation.token.secret.key": "Secret that signs delegation tokens; the same on all brokers.",
    "delete.records.purgatory.purge.interval.requests": (
        "Kafka's tidying interval of waiting DeleteRecords; without meaning here."
    ),
    "delete.topic.enable": "Whether topics may be deleted.",
    "early.start.listeners": "Listeners opened before a KRaft broker is ready; without meaning here.",
    "fetch.max.bytes": "Most bytes in one fetch answer; a first batch above it is still sent whole.",
    "fetch.purgatory.purge.interval.requests": "Kafka's tidying interval of waiting fetches; without meaning here.",
    "follower.fetch.last.tiered.offset.enable": "Whether an empty follower starts behind the tiered part of a log.",
    "group.consumer.assignment.interval.ms": "Shortest time between two assignments of a consumer group.",
    "group.consumer.assignors": "Assignors of consumer groups; the first is the default.",
    "group.consumer.heartbeat.interval.ms": "How often members of consumer groups are told to send a heartbeat.",
    "group.consumer.max.assignment.interval.ms": "Upper limit of a group's own consumer.assignment.interval.ms.",
    "group.consumer.max.heartbeat.interval.ms": "Upper limit of a group's own consumer.heartbeat.interval.ms.",
    "group.consumer.max.session.timeout.ms": "Upper limit of a group's own consumer.session.timeout.ms.",
    "group.consumer.max.size": "Most members of one consumer group.",
    "group.consumer.migration.policy": "Whether groups may change between the classic and the consumer protocol.",
    "group.consumer.min.assignment.interval.ms": "Lower limit of a group's own consumer.assignment.interval.ms.",
    "group.consumer.min.heartbeat.interval.ms": "Lower limit of a group's own consumer.heartbeat.interval.ms.",
    "group.consumer.min.session.timeout.ms": "Lower limit of a group's own consumer.session.timeout.ms.",
    "group.consumer.session.timeout.ms": "A member of a consumer group that is silent for this long is removed.",
    "group.coordinator.append.linger.ms": (
        "How long the coordinator gathers writes into one batch; -1 adapts to the load."
    ),
    "group.coordinator.background.threads": "Threads for regular expressions and other slow work of groups.",
    "group.coordinator.cached.buffer.max.bytes": "Largest write buffer that the group coordinator keeps for reuse.",
    "group.coordinator.rebalance.protocols": "Group protocols that are offered.",
    "group.coordinator.threads": "Threads of Kafka's group coordinator; here it is one.",
    "group.initial.rebalance.delay.ms": (
        "How long a new classic group waits for more members before its first generation."
    ),
    "group.max.session.timeout.ms": "Longest session timeout that a classic member may ask for.",
    "group.max.size": "Most members of one classic group.",
    "group.min.session.timeout.ms": "Shortest session timeout that a classic member may ask for.",
    "group.share.assignment.interval.ms": "Shortest time between two assignments of a share group.",
    "group.share.assignors": "Assignors of share groups.",
    "group.share.delivery.count.limit": "How often a record is handed out before it is given up.",
    "group.share.heartbeat.interval.ms": "How often members of share groups are told to send a heartbeat.",
    "group.share.max.assignment.interval.ms": "Upper limit of a group's own share.assignment.interval.ms.",
    "group.share.max.delivery.count.limit": "Upper limit of a group's own share.delivery.count.limit.",
    "group.share.max.heartbeat.interval.ms": "Upper limit of a group's own share.heartbeat.interval.ms.",
    "group.share.max.partition.max.record.locks": "Upper limit of a group's own share.partition.max.record.locks.",
    "group.share.max.record.lock.duration.ms": "Upper limit of a group's own share.record.lock.duration.ms.",
    "group.share.max.session.timeout.ms": "Upper limit of a group's own share.session.timeout.ms.",
    "group.share.max.share.sessions": "Most share sessions on one broker.",
    "group.share.max.size": "Most members of one share group.",
    "group.share.min.assignment.interval.ms": "Lower limit of a group's own share.assignment.interval.ms.",
    "group.share.min.delivery.count.limit": "Lower limit of a group's own share.delivery.count.limit.",
    "group.share.min.heartbeat.interval.ms": "Lower limit of a group's own share.heartbeat.interval.ms.",
    "group.share.min.partition.max.record.locks": "Lower limit of a group's own share.partition.max.record.locks.",
    "group.share.min.record.lock.duration.ms": "Lower limit of a group's own share.record.lock.duration.ms.",
    "group.share.min.session.timeout.ms": "Lower limit of a group's own share.session.timeout.ms.",
    "group.share.partition.max.record.locks": (
        "Most records of a share partition that may be in the hands of members at once."
    ),
    "group.share.record.lock.duration.ms": (
        "How long a member of a share group holds a record before it is offered again."
    ),
    "group.share.session.timeout.ms": "A member of a share group that is silent for this long is removed.",
    "group.streams.assignment.interval.ms": "Shortest time between two assignments of a streams group.",
    "group.streams.heartbeat.interval.ms": "How often members of streams groups are told to send a heartbeat.",
    "group.streams.initial.rebalance.delay.ms": (
        "How long a new streams group waits for more members before its first assignment."
    ),
    "group.streams.max.assignment.interval.ms": "Upper limit of a group's own streams.assignment.interval.ms.",
    "group.streams.max.heartbeat.interval.ms": "Upper limit of a group's own streams.heartbeat.interval.ms.",
    "group.streams.max.session.timeout.ms": "Upper limit of a group's own streams.session.timeout.ms.",
    "group.streams.max.size": "Most members of one streams group.",
    "group.streams.max.standby.replicas": "Upper limit of a group's own streams.num.standby.replicas.",
    "group.streams.min.assignment.interval.ms": "Lower limit of a group's own streams.assignment.interval.ms.",
    "group.streams.min.heartbeat.interval.ms": "Lower limit of a group's own streams.heartbeat.interval.ms.",
    "group.streams.min.session.timeout.ms": "Lower limit of a group's own streams.session.timeout.ms.",
    "group.streams.num.standby.replicas": "Standby copies of each stateful task of a streams group.",
    "group.streams.session.timeout.ms": "A member of a streams group that is silent for this long is removed.",
    "initial.broker.registration.timeout.ms": "How long a KRaft broker tries to register; without meaning here.",
    "inter.broker.listener.name": "Listener over which brokers talk to each other.",
    "kafka.metrics.polling.interval.secs": "Interval of Kafka's own metrics reporters; without meaning here.",
    "kafka.metrics.reporters": "Java metrics reporters; not supported here, see kafkacy.metrics.listen.",
    "leader.imbalance.check.interval.seconds": "How often the balance of leaders is checked.",
    "listener.security.protocol.map": "Which security protocol each listener name speaks.",
    "listeners": (
        "Addresses the broker binds, as NAME://host:port; an empty host means all addresses, port 0 any free port."
    ),
}

"""A sentence on every configuration key, in our own words.

Import it lazily: the start of the broker has no use for it.
"""

from typing import Final

TOPIC_TEXTS: Final[dict[str, str]] = {
    "cleanup.policy": (
        "What becomes of old segments: delete drops them, compact keeps the last record of each key; empty keeps all."
    ),
    "compression.gzip.level": "Level of gzip when this topic is recompressed, 1 to 9; -1 is zlib's own.",
    "compression.lz4.level": "Level of lz4 when this topic is recompressed, 1 to 17.",
    "compression.type": "Codec in which this topic is stored; producer keeps what the client chose.",
    "compression.zstd.level": "Level of zstd when this topic is recompressed.",
    "delete.retention.ms": "How long a tombstone stays readable in this compacted topic.",
    "file.delete.delay.ms": "How long a deleted file stays on the disk under a new name.",
    "flush.messages": "Records after which a partition is synced to the disk; 1 syncs before every answer.",
    "flush.ms": "Longest time that a record stays unsynced.",
    "follower.replication.throttled.replicas": "Followers that are throttled, as partition:broker or *.",
    "index.interval.bytes": "Bytes of a log between two entries of its offset index.",
    "leader.replication.throttled.replicas": "Replicas throttled on the leader's side, as partition:broker or *.",
    "local.retention.bytes": "Bytes kept on the local disk when the topic is tiered; -2 means as retention.bytes.",
    "local.retention.ms": "Age of local segments when the topic is tiered; -2 means as retention.ms.",
    "max.compaction.lag.ms": "Longest time that a record may wait for cleaning.",
    "max.message.bytes": "Largest batch that this topic takes.",
    "message.timestamp.after.max.ms": "How far ahead of the broker's clock a record's timestamp may be.",
    "message.timestamp.before.max.ms": "How far behind the broker's clock a record's timestamp may be.",
    "message.timestamp.type": "Whether timestamps are the producer's (CreateTime) or the broker's (LogAppendTime).",
    "min.cleanable.dirty.ratio": "Share of the log that has to be dirty before it is cleaned.",
    "min.compaction.lag.ms": "Time for which a record is safe from cleaning.",
    "min.insync.replicas": "Replicas that have to be in sync for a write with acks=all to be taken.",
    "preallocate": "Whether segment files get their full size at once.",
    "remote.log.copy.disable": "Stops copying to tiered storage, which does not exist here.",
    "remote.log.delete.on.disable": "Whether tiered data goes when tiering is switched off.",
    "remote.storage.enable": "Whether the topic is tiered; refused here.",
    "retention.bytes": "Size of a partition above which its oldest segments go; -1 is without limit.",
    "retention.ms": "Age at which segments go; -1 keeps them for ever.",
    "segment.bytes": "Largest size of a segment file.",
    "segment.index.bytes": "Largest size of an index file; a full one rolls the segment.",
    "segment.jitter.ms": "Most milliseconds by which rolling is spread, so that not all partitions roll at once.",
    "segment.ms": "Age at which a new segment is begun.",
    "unclean.leader.election.enable": "Whether a replica that is not in sync may lead when no other lives.",
}

GROUP_TEXTS: Final[dict[str, str]] = {
    "consumer.assignment.interval.ms": "Shortest time between two assignments of this consumer group.",
    "consumer.heartbeat.interval.ms": "How often members are told to send a heartbeat.",
    "consumer.session.timeout.ms": "A member that is silent for this long is removed.",
    "share.assignment.interval.ms": "Shortest time between two assignments of this share group.",
    "share.auto.offset.reset": "Where a share group begins in a partition: earliest, latest or by_duration:PT1H.",
    "share.delivery.count.limit": "How often a record is handed out before it is given up.",
    "share.heartbeat.interval.ms": "How often members of the share group are told to send a heartbeat.",
    "share.isolation.level": "Whether records of open and aborted transactions are handed out.",
    "share.partition.max.record.locks": "Most records of a partition that may be in the hands of members at once.",
    "share.record.lock.duration.ms": "How long a member holds a record before it is offered again.",
    "share.renew.acknowledge.enable": "Whether a member may prolong its hold on a record.",
    "share.session.timeout.ms": "A member of the share group that is silent for this long is removed.",
    "streams.assignment.interval.ms": "Shortest time between two assignments of this streams group.",
    "streams.heartbeat.interval.ms": "How often members of the streams group are told to send a heartbeat.",
    "streams.initial.rebalance.delay.ms": "How long a new streams group waits for more members.",
    "streams.num.standby.replicas": "Standby copies of each stateful task.",
    "streams.session.timeout.ms": "A member of the streams group that is silent for this long is removed.",
}

CLIENT_METRICS_TEXTS: Final[dict[str, str]] = {
    "interval.ms": "How often clients send their metrics.",
    "match": "Which clients are meant, as selector=pattern.",
    "metrics": "Prefixes of the metrics that are wanted; empty means none, * means all.",
}


def documentation_of(scope: str, name: str) -> str | None:
    """Return the sentence on a key; scope is topic, broker, group or client-metrics."""
    if scope == "topic":
        return TOPIC_TEXTS.get(name)
    if scope == "group":
        return GROUP_TEXTS.get(name)
    if scope == "client-metrics":
        return CLIENT_METRICS_TEXTS.get(name)
    return broker_texts().get(name)


def broker_texts() -> dict[str, str]:
    """Return the sentences on all broker keys."""
    from kafka_cy.config import broker_documentation_a, broker_documentation_l, broker_documentation_s

    return broker_documentation_a.TEXTS | broker_documentation_l.TEXTS | broker_documentation_s.TEXTS

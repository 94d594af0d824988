"""The table of differential_cases.Case, in the order in which both brokers get the requests."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import codec_variants as codecs
from codec_variants import gzip_member, lz4_block, lz4_header, skippable, xerial, zstd_frame
from differential_cases import (
    BROKER,
    CLIENT_METRICS,
    FUTURE_MS,
    GROUP,
    LOGGER,
    TIME_MS,
    TOPIC,
    UNKNOWN_ID,
    Case,
    alter,
    batch,
    batch_of,
    by_id,
    commit,
    configs,
    fetch_values,
    groups_named,
    heartbeat,
    join,
    leave,
    legacy,
    list_offsets,
    log_dirs_of,
    new_topic,
    new_topic_assigned,
    packed,
    partitions_of_log_dirs,
    produce_values,
    ranges,
    save,
    sync,
    with_field,
    without_documentation,
    without_messages,
)
from differential_cordon import CORDON
from differential_quotas import QUOTAS
from differential_resources import RULES
from differential_security import SECURITY
from differential_streams import STREAMS

FOREVER = {"retention.ms": "-1", "message.timestamp.type": "CreateTime"}
LONG_NAME = "n" * 250
# What a client needs to see, and what is the same in both
SHARED_APIS = (0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 33, 34, 35, 37, 42, 43, 44, 45)
SHARED_APIS += (46, 47, 48, 49, 60, 61, 74, 75)

# fmt: off
API_VERSIONS = [
    Case(f"ApiVersions v{version}", 18, version, {"client_software_name": "a", "client_software_version": "1"},
         view=ranges(*SHARED_APIS)) for version in (0, 2, 3, 4)
] + [
    Case("ApiVersions bad name", 18, 3, {"client_software_name": "-a", "client_software_version": "1"}),
    Case("ApiVersions no version", 18, 3, {"client_software_name": "a", "client_software_version": ""}),
]

CREATE = [
    Case("create data", 19, 7, new_topic("data", 2, configs=FOREVER), settle=True),
    Case("create small", 19, 5, new_topic("small", configs={**FOREVER, "max.message.bytes": "200"}), settle=True),
    Case("create compacted", 19, 5, new_topic("compacted", configs={"cleanup.policy": "compact"}), settle=True),
    Case("create append time", 19, 5, new_topic("stamped", configs={
        "retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}), settle=True),
    Case("create assigned", 19, 5, new_topic_assigned("assigned", {0: [1], 1: [1]}), settle=True),
    Case("create existing", 19, 7, new_topic("data")),
    Case("create existing v2", 19, 2, new_topic("data")),
    Case("create colliding", 19, 7, new_topic("a.b_c"), settle=True),
    Case("create collision", 19, 7, new_topic("a_b.c")),
    Case("create validate", 19, 7, new_topic("later", validate=True)),
    Case("create defaults", 19, 7, new_topic("later", -1, -1, validate=True)),
    *(Case(f"create name {name[:12]!r}", 19, 7, new_topic(name, validate=True))
      for name in ("", ".", "..", "bad name", "b\u00e4d", LONG_NAME, "__cluster_metadata")),
    *(Case(f"create {partitions} partitions, {replication} replicas", 19, 7,
           new_topic("later", partitions, replication, validate=True))
      for partitions, replication in ((0, 1), (-2, 1), (1, 0), (1, -2), (1, 2), (-1, 3))),
    Case("create assigned unknown broker", 19, 7, new_topic_assigned("later", {0: [7]})),
    Case("create assigned twice", 19, 7, new_topic_assigned("later", {0: [1, 1]})),
    Case("create assigned gap", 19, 7, new_topic_assigned("later", {1: [1]})),
    Case("create assigned empty", 19, 7, new_topic_assigned("later", {0: []})),
    Case("create assigned negative", 19, 7, new_topic_assigned("later", {0: [-1]})),
    *(Case(f"create assigned and {count}, {replication}", 19, 7,
           new_topic("later", count, replication, assignments=[{"partition_index": 0, "broker_ids": [1]}]))
      for count, replication in ((2, 1), (1, -1), (-1, 1))),
    *(Case(f"create config {key}={value}", 19, 7, new_topic("later", validate=True, configs={key: value}))
      for key, value in (("no.such.key", "1"), ("retention.ms", "soon"), ("retention.ms", "-2"), ("segment.bytes", "1"),
                         ("cleanup.policy", "shred"), ("compression.type", "brotli"), ("min.insync.replicas", "0"),
                         ("segment.bytes", None), ("unclean.leader.election.enable", "maybe"),
                         ("message.timestamp.type", "Never"), ("min.cleanable.dirty.ratio", "1.5"))),
    Case("create twice in one request", 19, 7,
         {"topics": new_topic("later")["topics"] * 2, "timeout": 5000, "validate_only": True}),
    Case("create nothing", 19, 7, {"topics": [], "timeout": 5000}),
]

METADATA = [
    Case("metadata null", 3, 12, {"topics": None}, save=lambda state, answer: state.topic_ids.update(
        {each["name"]: each["topic_id"] for each in answer["topics"]})),
    Case("metadata empty", 3, 12, {"topics": []}),
    Case("metadata v0 empty", 3, 0, {"topics": []}),
    Case("metadata v13", 3, 13, {"topics": [{"name": "data"}]}),
    Case("metadata unknown", 3, 12, {"topics": [{"name": "nowhere"}], "allow_auto_topic_creation": False}),
    Case("metadata unknown v1", 3, 8, {"topics": [{"name": "nowhere"}], "allow_auto_topic_creation": False}),
    Case("metadata bad name", 3, 12, {"topics": [{"name": "bad name"}], "allow_auto_topic_creation": True}),
    Case("metadata unknown id", 3, 12, {"topics": [{"name": None, "topic_id": UNKNOWN_ID}]}),
    Case("metadata authorized", 3, 10, {"topics": [{"name": "data"}], "include_topic_authorized_operations": True,
                                        "include_cluster_authorized_operations": True}),
    Case("metadata null name", 3, 12, {"topics": [{"name": None, "topic_id": None}]}),
    Case("metadata twice", 3, 9, {"topics": [{"name": "data"}, {"name": "data"}]}),
    Case("describe cluster", 60, 2, {"include_cluster_authorized_operations": True, "endpoint_type": 1}),
    Case("describe cluster controllers", 60, 1, {"endpoint_type": 2}),
    Case("describe cluster v0", 60, 0, {}),
    Case("describe partitions", 75, 0, {"topics": [{"name": "data"}], "response_partition_limit": 2000}),
    Case("describe partitions limit", 75, 0, {"topics": [{"name": "data"}, {"name": "small"}],
                                              "response_partition_limit": 1}),
    Case("describe partitions unknown", 75, 0, {"topics": [{"name": "nowhere"}], "response_partition_limit": 10}),
]

GOOD = batch(5)
PRODUCE_ALL = [
    Case("produce", 0, 9, produce_values("data", GOOD)),
    Case("produce v3", 0, 3, produce_values("data", batch(3, first=5))),
    Case("produce v2", 0, 8, produce_values("data", batch(2, first=8, compression="gzip"))),
    Case("produce acks 1", 0, 8, produce_values("data", batch(1, first=10), acks=1)),
    Case("produce acks 2", 0, 8, produce_values("data", GOOD, acks=2)),
    Case("produce unknown topic", 0, 9, produce_values("nowhere", GOOD)),
    Case("produce unknown partition", 0, 9, produce_values("data", GOOD, partition=7)),
    Case("produce negative partition", 0, 9, produce_values("data", GOOD, partition=-1)),
    Case("produce too large", 0, 9, produce_values("small", batch(9))),
    Case("produce bad CRC", 0, 9, produce_values("data", GOOD[:-1] + b"X")),
    Case("produce bad magic", 0, 9, produce_values("data", with_field(GOOD, 16, b"\x03"))),
    Case("produce truncated", 0, 9, produce_values("data", GOOD[:-3])),
    Case("produce short length", 0, 9, produce_values("data", with_field(GOOD, 8, struct.pack(">i", 10)))),
    Case("produce two batches", 0, 9, produce_values("data", GOOD + GOOD)),
    Case("produce empty records", 0, 9, produce_values("data", b"")),
    Case("produce no key to compacted", 0, 9, produce_values("compacted", batch(0) or GOOD)),
    Case("produce sequence gap", 0, 9, produce_values(
        "data", batch(1, producer_id=70, producer_epoch=0, base_sequence=0), partition=1)),
    Case("produce sequence gap 2", 0, 9, produce_values(
        "data", batch(1, producer_id=70, producer_epoch=0, base_sequence=5), partition=1)),
    Case("produce duplicate", 0, 9, produce_values(
        "data", batch(1, producer_id=70, producer_epoch=0, base_sequence=0), partition=1)),
    Case("produce old epoch", 0, 9, produce_values(
        "data", batch(1, producer_id=70, producer_epoch=3, base_sequence=0), partition=1)),
    Case("produce older epoch", 0, 9, produce_values(
        "data", batch(1, producer_id=70, producer_epoch=1, base_sequence=1), partition=1)),
    Case("produce new epoch not at 0", 0, 9, produce_values(
        "data", batch(1, producer_id=70, producer_epoch=4, base_sequence=9), partition=1)),
    Case("describe producers", 61, 0, {"topics": [{"name": "data", "partition_indexes": [0, 1, 9]},
                                                  {"name": "nowhere", "partition_indexes": [0]}]}),
    Case("produce v13 unknown id", 0, 13, {"acks": -1, "timeout": 5000, "transactional_id": None, "topic_data": [
        {"topic_id": UNKNOWN_ID, "partition_data": [{"index": 0, "records": GOOD}]}]}),
    Case("produce transactional id empty log", 0, 9, produce_values("data", GOOD, transactional_id="")),
]
# Streams that decoders may treat differently. Kafka's consumers must be able to read everything that is stored.
END = bytes(4)
PRODUCE_ALL += [
    Case(f"produce {codec} {name}", 0, 9, produce_values("data", packed(codec, compress)))
    for codec, name, compress in (
        ("gzip", "plain", gzip_member),
        ("gzip", "zlib", zlib.compress),
        ("gzip", "nothing", lambda data: b""),
        ("gzip", "reserved flags", lambda data: gzip_member(data, 0xE0)),
        ("gzip", "two members", lambda data: gzip_member(data[:20]) + gzip_member(data[20:])),
        ("gzip", "and a rest", lambda data: gzip_member(data) + b"something else, and more of it"),
        ("gzip", "wrong size", lambda data: gzip_member(data)[:-1] + b"\1"),
        ("gzip", "more records", lambda data: gzip_member(data + data)),
        ("gzip", "fewer records", lambda data: gzip_member(data[:30])),
        ("snappy", "raw", lambda data: codecs.snappy.compress(data)),
        ("snappy", "nothing", lambda data: b""),
        ("snappy", "version 0", lambda data: xerial(codecs.snappy.compress(data), version=0)),
        ("snappy", "and two bytes", lambda data: xerial(codecs.snappy.compress(data)) + b"\0\0"),
        ("snappy", "and four bytes", lambda data: xerial(codecs.snappy.compress(data)) + END),
        ("lz4", "plain", lambda data: lz4_header() + lz4_block(data) + END),
        ("lz4", "and a rest", lambda data: lz4_header() + lz4_block(data) + END + b"more"),
        ("lz4", "two frames", lambda data: 2 * (lz4_header() + lz4_block(data) + END)),
        ("lz4", "wrong content checksum", lambda data: lz4_header(0x64) + lz4_block(data) + END + END),
        ("lz4", "wrong block checksum", lambda data: lz4_header(0x70) + lz4_block(data, checksum=1) + END),
        ("lz4", "dependent blocks", lambda data: lz4_header(0x40) + lz4_block(data) + END),
        ("lz4", "no end", lambda data: lz4_header() + lz4_block(data)),
        ("zstd", "raw block", zstd_frame),
        ("zstd", "nothing", lambda data: b""),
        ("zstd", "two frames", lambda data: zstd_frame(data[:20]) + skippable(b"abc") + zstd_frame(data[20:])),
        ("zstd", "and a rest", lambda data: zstd_frame(data) + b"more"),
        ("zstd", "cut skippable frame", lambda data: zstd_frame(data) + skippable(b"abc")[:-1]),
        ("zstd", "large window", lambda data: zstd_frame(data, window=0xF8)),
        ("zstd", "large window sized", lambda data: zstd_frame(data, window=0xF8, size=len(data))),
    )
]
# Records that are refused one by one; the response names all of them.
REFUSED = {
    "no keys": ("compacted", [(None, TIME_MS), (b"k", TIME_MS), (None, TIME_MS), (None, -1)], 0),
    "no keys and future": ("compacted", [(None, FUTURE_MS), (b"k", FUTURE_MS), (None, TIME_MS), (b"k", TIME_MS)], 0),
    "future": ("data", [(b"k", FUTURE_MS), (None, TIME_MS), (b"k", FUTURE_MS), (b"k", -1)], 0),
    "claims append time": ("data", [(b"k", TIME_MS), (None, TIME_MS)], 8),
    "claims append time without": ("data", [(b"k", -1), (None, -1)], 8),
    "claims append time of future": ("data", [(b"k", TIME_MS), (None, FUTURE_MS)], 8),
    "claims append time to append time": ("stamped", [(b"k", TIME_MS), (None, TIME_MS)], 8),
    "to append time": ("stamped", [(b"k", TIME_MS), (None, FUTURE_MS)], 0),
}
PRODUCE_ALL += [
    Case(f"produce {name} {compression}", 0, 9, produce_values(
        topic, batch_of(*records, attributes=attributes, compression=compression)))
    for name, (topic, records, attributes) in REFUSED.items() for compression in ("none", "lz4")
]
PRODUCE = [replace(case, view=without_messages) if case.api_key == 0 else case for case in PRODUCE_ALL]

LIST_OFFSETS = [
    *(Case(f"offsets at {timestamp}", 2, 8, list_offsets(timestamp))
      for timestamp in (-1, -2, -3, -4, 0, TIME_MS, TIME_MS + 4, TIME_MS + 6, TIME_MS + 10, TIME_MS + 11, 1 << 60)),
    *(Case(f"offsets at {timestamp} v{version}", 2, version, list_offsets(timestamp))
      for version, timestamp in ((11, -5), (11, -6), (9, -5), (8, -5), (6, -3), (7, -4), (11, -7), (1, -1), (1, -2),
                                 (5, -9))),
    Case("offsets empty partition", 2, 8, list_offsets(-1, topic="small")),
    Case("offsets max timestamp of empty", 2, 8, list_offsets(-3, topic="small")),
    Case("offsets timestamp of empty", 2, 8, list_offsets(5, topic="small")),
    Case("offsets unknown topic", 2, 8, list_offsets(-1, topic="nowhere")),
    Case("offsets unknown partition", 2, 8, list_offsets(-1, partition=9)),
    Case("offsets same epoch", 2, 8, list_offsets(-1, epoch=0)),
    Case("offsets newer epoch", 2, 8, list_offsets(-1, epoch=9)),
    Case("offsets twice", 2, 8, {"replica_id": -1, "topics": list_offsets(-1)["topics"] * 2}),
    Case("offsets read committed", 2, 8, {**list_offsets(-1), "isolation_level": 1}),
    Case("offsets as debug consumer", 2, 8, {**list_offsets(-1), "replica_id": -2}),
    *(Case(f"leader epoch {epoch}, current {current}", 23, 4, {"replica_id": -1, "topics": [
        {"topic": topic, "partitions": [{"partition": 0, "current_leader_epoch": current, "leader_epoch": epoch}]}]})
      for topic, current, epoch in (("data", -1, 0), ("data", -1, 5), ("data", 0, 0), ("data", 5, 0), ("data", -1, -1),
                                    ("nowhere", -1, 0), ("small", -1, 0))),
]

FETCH = [
    Case("fetch", 1, 12, fetch_values("data", 0)),
    Case("fetch v4", 1, 4, fetch_values("data", 0)),
    Case("fetch inside a batch", 1, 12, fetch_values("data", 6)),
    Case("fetch at the end", 1, 12, fetch_values("data", 11)),
    Case("fetch past the end", 1, 12, fetch_values("data", 17)),
    Case("fetch below 0", 1, 12, fetch_values("data", -1)),
    Case("fetch unknown topic", 1, 12, fetch_values("nowhere", 0)),
    Case("fetch unknown partition", 1, 12, fetch_values("data", 0, partition=9)),
    Case("fetch one byte", 1, 12, fetch_values("data", 0, entry={"partition_max_bytes": 1}, max_bytes=1)),
    Case("fetch zero bytes", 1, 12, fetch_values("data", 0, entry={"partition_max_bytes": 0}, max_bytes=0)),
    Case("fetch read committed", 1, 12, fetch_values("data", 0, isolation_level=1)),
    Case("fetch same epoch", 1, 12, fetch_values("data", 0, entry={"current_leader_epoch": 0})),
    Case("fetch newer epoch", 1, 12, fetch_values("data", 0, entry={"current_leader_epoch": 5})),
    Case("fetch last fetched epoch", 1, 12, fetch_values("data", 5, entry={"last_fetched_epoch": 0})),
    Case("fetch diverging", 1, 12, fetch_values("data", 5, entry={"last_fetched_epoch": 4})),
    Case("fetch by id", 1, 16, by_id("data")),
    Case("fetch by unknown id", 1, 16, by_id("nowhere")),
    Case("fetch v17", 1, 17, by_id("data")),
    Case("fetch v18", 1, 18, by_id("data")),
    Case("fetch as replica", 1, 12, {**fetch_values("data", 0), "replica_id": 5}),
    Case("fetch as replica v17", 1, 17, by_id("data", replica_state={"replica_id": 5, "replica_epoch": 1})),
    Case("fetch nothing", 1, 12, {**fetch_values("data", 0), "topics": []}),
    Case("session new", 1, 12, fetch_values("data", 0, session_epoch=0), save=save("session", "session_id")),
    Case("session incremental", 1, 12, lambda state: {
        **fetch_values("data", 0, session_id=state.saved["session"], session_epoch=1), "topics": []}),
    Case("session wrong epoch", 1, 12, lambda state: {
        **fetch_values("data", 0, session_id=state.saved["session"], session_epoch=9), "topics": []}),
    Case("session unknown", 1, 12, fetch_values("data", 0, session_id=123456, session_epoch=1)),
    Case("session close", 1, 12, lambda state: {
        **fetch_values("data", 0, session_id=state.saved["session"], session_epoch=-1), "topics": []}),
    Case("session closed", 1, 12, lambda state: fetch_values(
        "data", 0, session_id=state.saved["session"], session_epoch=2)),
]

GROUPS = [
    Case("find coordinator", 10, 4, {"key_type": 0, "coordinator_keys": ["g1", "g2"]}),
    Case("find coordinator v0", 10, 0, {"key": "g1"}),
    Case("find coordinator v2", 10, 2, {"key": "g1", "key_type": 0}),
    Case("find coordinator bad type", 10, 4, {"key_type": 9, "coordinator_keys": ["g1"]}),
    Case("find coordinator nothing", 10, 4, {"key_type": 0, "coordinator_keys": []}),
    Case("find coordinator empty", 10, 4, {"key_type": 0, "coordinator_keys": [""]}),
    Case("join empty group id", 11, 5, join("")),
    Case("join short session", 11, 5, join("g1", session=10)),
    Case("join long session", 11, 5, join("g1", session=10_000_000)),
    Case("join no protocols", 11, 5, join("g1", protocols=[])),
    Case("join no type", 11, 5, join("g1", kind="")),
    Case("join unknown member", 11, 5, join("g1", "who")),
    Case("join needs id", 11, 5, join("g1"), save=save("member", "member_id")),
    Case("describe pending", 15, 5, {"groups": ["g1"], "include_authorized_operations": True}),
    Case("join", 11, 9, lambda state: join("g1", state.saved["member"]), save=save("generation", "generation_id")),
    Case("describe completing", 15, 5, {"groups": ["g1"]}),
    Case("heartbeat completing", 12, 4, lambda state: heartbeat("g1", state.saved["member"], 1)),
    Case("commit completing", 8, 8, lambda state: commit("g1", 3, generation=1, member=state.saved["member"])),
    Case("sync wrong protocol", 14, 5, lambda state: sync("g1", state.saved["member"], 1, name="sticky")),
    Case("sync wrong generation", 14, 5, lambda state: sync("g1", state.saved["member"], 9)),
    Case("sync unknown member", 14, 5, sync("g1", "who", 1)),
    Case("sync", 14, 5, lambda state: sync("g1", state.saved["member"], 1, assignment=b"assigned")),
    Case("sync again", 14, 5, lambda state: sync("g1", state.saved["member"], 1)),
    Case("heartbeat", 12, 4, lambda state: heartbeat("g1", state.saved["member"], 1)),
    Case("heartbeat wrong generation", 12, 4, lambda state: heartbeat("g1", state.saved["member"], 9)),
    Case("heartbeat unknown member", 12, 4, heartbeat("g1", "who", 1)),
    Case("heartbeat unknown group", 12, 4, heartbeat("nowhere", "who", 1)),
    Case("heartbeat empty group", 12, 4, heartbeat("", "who", 1)),
    Case("heartbeat unknown instance", 12, 4, lambda state: heartbeat("g1", state.saved["member"], 1, "inst")),
    Case("join other protocol", 11, 5, join("g1", protocols=["sticky"])),
    Case("join other type", 11, 5, join("g1", kind="connect")),
    Case("rejoin follower same", 11, 9, lambda state: join("g1", state.saved["member"]),
         save=save("generation", "generation_id")),
    Case("describe stable", 15, 6, {"groups": ["g1"], "include_authorized_operations": True}),
    Case("sync 2", 14, 5, lambda state: sync("g1", state.saved["member"], 2, assignment=b"assigned")),
    Case("describe stable 2", 15, 6, {"groups": ["g1", "nowhere", ""]}),
    Case("describe v5 unknown", 15, 5, {"groups": ["nowhere"]}),
    Case("list groups", 16, 5, {}),
    Case("list groups stable", 16, 5, {"states_filter": ["Stable"]}),
    Case("list groups classic", 16, 5, {"types_filter": ["classic"]}),
    Case("list groups lower case", 16, 5, {"states_filter": ["stable"], "types_filter": ["Classic"]}),
    Case("list groups bad filter", 16, 5, {"states_filter": ["Asleep"], "types_filter": ["odd"]}),
    Case("commit", 8, 8, lambda state: commit("g1", 3, generation=2, member=state.saved["member"])),
    Case("commit v2", 8, 2, lambda state: commit("g1", 4, generation=2, member=state.saved["member"])),
    Case("commit wrong generation", 8, 8, lambda state: commit("g1", 3, generation=7, member=state.saved["member"])),
    Case("commit unknown member", 8, 8, commit("g1", 3, generation=2, member="who")),
    Case("commit simple to members", 8, 8, commit("g1", 3)),
    Case("commit unknown topic", 8, 8, commit("simple", 3, topic="nowhere")),
    Case("commit unknown partition", 8, 8, commit("simple", 3, partition=9)),
    Case("commit simple", 8, 8, commit("simple", 3, metadata=None)),
    Case("commit empty group", 8, 8, commit("", 7)),
    Case("commit negative", 8, 8, commit("simple", -5, partition=1)),
    Case("commit long metadata", 8, 8, commit("simple", 3, metadata="m" * 5000)),
    Case("commit generation unknown group", 8, 8, commit("nobody", 3, generation=1, member="who")),
    Case("commit generation unknown group v9", 8, 9, commit("nobody", 3, generation=1, member="who")),
    Case("commit by unknown id", 8, 10, {**commit("simple", 3), "topics": [
        {"topic_id": UNKNOWN_ID, "partitions": commit("simple", 3)["topics"][0]["partitions"]}]}),
    Case("list groups simple", 16, 4, {}),
    Case("describe simple", 15, 5, {"groups": ["simple"]}),
]

WANTED = [{"name": "data", "partition_indexes": [0, 1, 9]}, {"name": "nowhere", "partition_indexes": [0]}]
OFFSET_FETCH = [
    *(Case(f"offset fetch v{version}", 9, version, {"group_id": "g1", "topics": WANTED, "groups": [
        {"group_id": "g1", "topics": WANTED}]}) for version in (1, 2, 3, 5, 7, 8, 9)),
    Case("offset fetch all", 9, 7, {"group_id": "g1", "topics": None}),
    Case("offset fetch groups", 9, 8, {"groups": [{"group_id": "g1", "topics": None},
                                                  {"group_id": "simple", "topics": None},
                                                  {"group_id": "nowhere", "topics": None},
                                                  {"group_id": "", "topics": None}]}),
    Case("offset fetch unknown group", 9, 7, {"group_id": "nowhere", "topics": WANTED}),
    Case("offset fetch no topics", 9, 7, {"group_id": "g1", "topics": []}),
    Case("offset fetch stable", 9, 8, {"groups": [{"group_id": "g1", "topics": WANTED}], "require_stable": True}),
    Case("offset fetch member epoch", 9, 9, {"groups": [{"group_id": "g1", "member_id": "who", "member_epoch": 1,
                                                         "topics": WANTED}]}),
    Case("offset fetch unknown id", 9, 10, {"groups": [{"group_id": "g1", "topics": [
        {"topic_id": UNKNOWN_ID, "partition_indexes": [0]}]}]}),
    Case("offset delete subscribed", 47, 0, {"group_id": "g1", "topics": [
        {"name": "data", "partitions": [{"partition_index": 0}]}]}),
    Case("offset delete", 47, 0, {"group_id": "simple", "topics": [
        {"name": "data", "partitions": [{"partition_index": 0}, {"partition_index": 1}, {"partition_index": 9}]},
        {"name": "nowhere", "partitions": [{"partition_index": 0}]}]}),
    Case("offset delete unknown group", 47, 0, {"group_id": "nowhere", "topics": [
        {"name": "data", "partitions": [{"partition_index": 0}]}]}),
    Case("offset delete empty group", 47, 0, {"group_id": "", "topics": [
        {"name": "data", "partitions": [{"partition_index": 0}]}]}),
    Case("delete groups not empty", 42, 2, {"groups_names": ["g1", "nowhere", "", "simple"]}),
    Case("leave unknown", 13, 5, leave("g1", ("who", None), ("", "inst"))),
    Case("leave unknown group", 13, 5, leave("nowhere", ("who", None))),
    Case("leave empty group", 13, 5, leave("", ("who", None))),
    Case("leave nobody", 13, 5, leave("g1")),
    Case("leave v2 unknown", 13, 2, {"group_id": "g1", "member_id": "who"}),
    Case("leave", 13, 5, lambda state: leave("g1", (state.saved["member"], None))),
    Case("describe empty", 15, 5, {"groups": ["g1"]}),
    Case("join static", 11, 5, join("g2", instance="i1"), save=save("static", "member_id")),
    Case("sync static", 14, 5, lambda state: sync("g2", state.saved["static"], 1, assignment=b"mine", instance="i1")),
    Case("join static again", 11, 9, join("g2", instance="i1"), save=save("static2", "member_id")),
    Case("heartbeat fenced", 12, 4, lambda state: heartbeat("g2", state.saved["static"], 1, "i1")),
    Case("heartbeat fenced no instance", 12, 4, lambda state: heartbeat("g2", state.saved["static"], 1)),
    Case("leave fenced", 13, 5, lambda state: leave("g2", (state.saved["static"], "i1"))),
    Case("describe static", 15, 5, {"groups": ["g2"]}),
    Case("leave static", 13, 5, leave("g2", ("", "i1"))),
    Case("delete groups", 42, 2, {"groups_names": ["g1", "g2"]}),
    Case("list groups end", 16, 5, {}),
]

TOPIC_KEYS = ["retention.ms", "cleanup.policy", "segment.bytes", "max.message.bytes", "no.such.key", "compression.type"]
CONFIGS = [
    Case("configs topic", 32, 4, configs((TOPIC, "data", TOPIC_KEYS)), view=without_documentation),
    Case("configs topic all", 32, 1, configs((TOPIC, "small", None)), view=without_documentation),
    Case("configs topic no keys", 32, 4, configs((TOPIC, "small", [])), view=without_documentation),
    *(Case(f"configs of {kind} {name!r}", 32, 4, configs((kind, name, None)))
      for kind, name in ((TOPIC, "nowhere"), (TOPIC, "bad name"), (TOPIC, ""), (BROKER, "9"), (BROKER, "x"), (99, "a"),
                         (0, "a"))),
    Case("configs with a bad type", 32, 4, configs((TOPIC, "data", ["retention.ms"]), (99, "a", None))),
    Case("configs broker", 32, 4, configs((BROKER, "1", ["num.partitions", "log.retention.hours", "log.segment.bytes",
                                                         "node.id", "message.max.bytes"])), view=without_documentation),
    Case("alter set", 44, 1, alter(TOPIC, "data", ("segment.bytes", 0, "2000000")), settle=True),
    Case("alter append", 44, 1, alter(TOPIC, "data", ("cleanup.policy", 2, "compact")), settle=True),
    Case("alter subtract", 44, 1, alter(TOPIC, "data", ("cleanup.policy", 3, "compact")), settle=True),
    Case("alter append scalar", 44, 1, alter(TOPIC, "data", ("segment.bytes", 2, "1"))),
    Case("alter bad operation", 44, 1, alter(TOPIC, "data", ("segment.bytes", 9, "1"))),
    Case("alter twice", 44, 1, alter(TOPIC, "data", ("segment.bytes", 0, "2000000"), ("segment.bytes", 1, None))),
    Case("alter null", 44, 1, alter(TOPIC, "data", ("segment.bytes", 0, None))),
    Case("alter invalid", 44, 1, alter(TOPIC, "data", ("segment.bytes", 0, "many"))),
    Case("alter unknown key", 44, 1, alter(TOPIC, "data", ("no.such.key", 0, "1"))),
    Case("alter unknown topic", 44, 1, alter(TOPIC, "nowhere", ("segment.bytes", 0, "2000000"))),
    Case("alter broker read-only", 44, 1, alter(BROKER, "1", ("node.id", 0, "5"))),
    Case("alter other broker", 44, 1, alter(BROKER, "9", ("log.retention.ms", 0, "5000"))),
    Case("alter bad resource", 44, 1, alter(99, "9", ("a", 0, "5000"))),
    Case("alter validate", 44, 1, alter(TOPIC, "data", ("segment.bytes", 0, "3000000"), validate=True)),
    Case("alter delete", 44, 1, alter(TOPIC, "data", ("segment.bytes", 1, None)), settle=True),
    Case("configs after", 32, 4, configs((TOPIC, "data", TOPIC_KEYS)), view=without_documentation),
    Case("legacy alter invalid", 33, 2, {"resources": [{"resource_type": TOPIC, "resource_name": "small", "configs": [
        {"name": "retention.ms", "value": "soon"}]}]}),
    Case("config resources", 74, 1, {"resource_types": []}),
    Case("config resources topics", 74, 1, {"resource_types": [TOPIC]}),
    Case("config resources bad", 74, 1, {"resource_types": [99]}),
]


def grow(name: str, count: int, assignments: list[list[int]] | None = None, *, validate: bool = False) -> dict:  # type: ignore[type-arg]
    given = None if assignments is None else [{"broker_ids": each} for each in assignments]
    return {"topics": [{"name": name, "count": count, "assignments": given}], "timeout": 5000,
            "validate_only": validate}


def delete_records(topic: str, partition: int, offset: int) -> dict:  # type: ignore[type-arg]
    return {"topics": [{"name": topic, "partitions": [{"partition_index": partition, "offset": offset}]}],
            "timeout": 5000}


def reassign(topic: str, partition: int, replicas: list[int] | None) -> dict:  # type: ignore[type-arg]
    return {"timeout": 5000, "allow_replication_factor_change": True, "topics": [
        {"name": topic, "partitions": [{"partition_index": partition, "replicas": replicas}]}]}


PARTITIONS = [
    Case("grow", 37, 3, grow("assigned", 3), settle=True),
    Case("grow to less", 37, 3, grow("assigned", 1)),
    Case("grow to the same", 37, 3, grow("assigned", 3)),
    Case("grow to 0", 37, 3, grow("assigned", 0)),
    Case("grow to -1", 37, 3, grow("assigned", -1)),
    Case("grow unknown", 37, 3, grow("nowhere", 3)),
    Case("grow validate", 37, 3, grow("assigned", 9, validate=True)),
    Case("grow too many assignments", 37, 3, grow("assigned", 4, [[1], [1]])),
    Case("grow unknown broker", 37, 3, grow("assigned", 4, [[7]])),
    Case("grow no broker", 37, 3, grow("assigned", 4, [[]])),
    Case("grow twice", 37, 3, {**grow("assigned", 4), "topics": grow("assigned", 4)["topics"] * 2}),
    Case("delete records", 21, 2, delete_records("data", 0, 4)),
    Case("delete records past the end", 21, 2, delete_records("data", 0, 400)),
    Case("delete records below start", 21, 2, delete_records("data", 0, 1)),
    Case("delete records below -1", 21, 2, delete_records("data", 0, -2)),
    Case("delete records unknown", 21, 2, delete_records("nowhere", 0, 1)),
    Case("delete records unknown partition", 21, 2, delete_records("data", 9, 1)),
    Case("delete records compacted", 21, 2, delete_records("compacted", 0, 0)),
    Case("delete records all", 21, 2, delete_records("data", 0, -1)),
    Case("offsets after delete", 2, 8, list_offsets(-2)),
    Case("fetch below start", 1, 12, fetch_values("data", 0)),
    Case("offsets at time after delete", 2, 8, list_offsets(TIME_MS)),
    *(Case(f"elect {kind} {topic}/{partition}", 43, 2, {"election_type": kind, "timeout": 5000, "topic_partitions": [
        {"topic": topic, "partitions": [partition]}]})
      for kind, topic, partition in ((0, "data", 0), (1, "data", 0), (0, "nowhere", 0), (0, "data", 9))),
    Case("elect bad type", 43, 2, {"election_type": 9, "timeout": 5000, "topic_partitions": [
        {"topic": "data", "partitions": [0]}]}),
    Case("elect all", 43, 2, {"election_type": 0, "timeout": 5000, "topic_partitions": None}),
    Case("elect v0", 43, 0, {"timeout": 5000, "topic_partitions": [{"topic": "data", "partitions": [0]}]}),
    *(Case(f"reassign {topic}/{partition} to {replicas}", 45, 1, reassign(topic, partition, replicas))
      for topic, partition, replicas in (("data", 0, [1]), ("data", 0, [7]), ("data", 0, []), ("data", 0, None),
                                         ("nowhere", 0, [1]), ("data", 9, [1]), ("data", 0, [1, 1]),
                                         ("data", 0, [-1]), ("nowhere", 0, None))),
    Case("reassignments", 46, 0, {"timeout": 5000, "topics": None}),
    Case("reassignments of unknown", 46, 0, {"timeout": 5000, "topics": [{"name": "nowhere", "partition_indexes": [0]}]}),
    Case("log dirs", 35, 4, {"topics": [{"topic": "data", "partitions": [0, 1]}]}, view=partitions_of_log_dirs),
    Case("log dirs v1", 35, 1, {"topics": [{"topic": "data", "partitions": [0]}]}, view=partitions_of_log_dirs),
    Case("log dirs unknown", 35, 4, {"topics": [{"topic": "nowhere", "partitions": [0]}]}),
    Case("move to nowhere", 34, 2, {"dirs": [{"path": "/nowhere", "topics": [{"name": "data", "partitions": [0]}]}]}),
    Case("move unknown topic", 34, 2, lambda state: {"dirs": [
        {"path": state.log_dirs[0], "topics": [{"name": "nowhere", "partitions": [0]}]}]}),
    Case("move unknown partition", 34, 2, lambda state: {"dirs": [
        {"path": state.log_dirs[0], "topics": [{"name": "data", "partitions": [9]}]}]}),
    Case("move relative", 34, 2, {"dirs": [{"path": "relative", "topics": [{"name": "data", "partitions": [0]}]}]}),
    *(Case(f"move to dir {number}", 34, 2, lambda state, number=number: {"dirs": [
        {"path": state.log_dirs[number], "topics": [{"name": "data", "partitions": [0, 1]}]}]}, settle=True)
      for number in (0, 1)),
    Case("log dirs after move", 35, 4, {"topics": [{"topic": "data", "partitions": [0, 1]}]}),
    Case("fetch after move", 1, 12, fetch_values("data", 16)),
    Case("elect of nothing", 43, 2, {"election_type": 0, "timeout": 5000, "topic_partitions": []}),
    Case("producer id", 22, 4, {"transactional_id": None, "transaction_timeout": 1000, "producer_id": -1,
                                "producer_epoch": -1}),
    Case("producer id v0", 22, 0, {"transactional_id": None, "transaction_timeout": 1000}),
    Case("producer id timeout 0", 22, 4, {"transactional_id": None, "transaction_timeout": 0, "producer_id": -1,
                                          "producer_epoch": -1}),
]

def twice(values: dict, array: str, inner: str = "") -> dict:  # type: ignore[type-arg]
    """The request with each element of its array repeated; with `inner`, each element of the inner arrays."""
    if not inner:
        return {**values, array: [*values[array], *values[array]]}
    return {**values, array: [{**each, inner: [*each[inner], *each[inner]]} for each in values[array]]}


def joined(array: str, *requests: dict) -> dict:  # type: ignore[type-arg]
    """The first request with the array elements of all requests."""
    return {**requests[0], array: [each for request in requests for each in request[array]]}


def epochs(topic: str, partition: int = 0) -> dict:  # type: ignore[type-arg]
    entry = {"partition": partition, "current_leader_epoch": -1, "leader_epoch": 0}
    return {"replica_id": -1, "topics": [{"topic": topic, "partitions": [entry]}]}


def partitions_by_cursor(limit: int, name: str, partition: int, *topics: str) -> dict:  # type: ignore[type-arg]
    return {"topics": [{"name": each} for each in topics], "response_partition_limit": limit,
            "cursor": {"topic_name": name, "partition_index": partition}}


TWO, THREE = batch(2), batch(3)
TWICE_ALL = [
    Case("create for twice", 19, 7, new_topic("twice", 2, configs=FOREVER), settle=True,
         save=lambda state, answer: state.topic_ids.update(twice=answer["topics"][0]["topic_id"])),
    Case("produce topic twice", 0, 9, joined("topic_data", produce_values("twice", TWO), produce_values("twice", THREE),
                                             produce_values("twice", TWO, partition=1))),
    Case("produce partition twice", 0, 9, twice(produce_values("twice", TWO), "topic_data", "partition_data")),
    Case("produce unknown twice", 0, 9, twice(produce_values("nowhere", TWO), "topic_data")),
    Case("produce good, then bad", 0, 9, joined("topic_data", produce_values("assigned", TWO), produce_values("assigned", b""))),
    Case("produce bad, then good", 0, 9, joined("topic_data", produce_values("assigned", b""), produce_values("assigned", TWO))),
    Case("produce by id twice", 0, 13, lambda state: {
        **(values := twice(produce_values("twice", TWO), "topic_data", "partition_data")),
        "topic_data": [{**each, "topic_id": state.topic_ids["twice"]} for each in values["topic_data"]]}),
    Case("produce no partitions", 0, 9, {**produce_values("twice", TWO), "topic_data": [
        {"name": "twice", "partition_data": []}]}),
    Case("offsets after all that", 2, 8, joined("topics", list_offsets(-1, topic="twice"),
                                               list_offsets(-1, topic="twice", partition=1))),
    *(Case(f"offsets {what} twice v{version}", 2, version, values) for version in (1, 5, 8, 11) for what, values in (
        ("topic", twice(list_offsets(-1), "topics")),
        ("partition", twice(list_offsets(-1), "topics", "partitions")),
        ("unknown", twice(list_offsets(-1, topic="nowhere"), "topics")),
        ("one of three", joined("topics", list_offsets(-1), list_offsets(-2), list_offsets(-1, partition=1),
                                list_offsets(-1, topic="small"))))),
    Case("offsets bad spec twice", 2, 8, twice(list_offsets(-9), "topics")),
    Case("offsets no partitions", 2, 8, {"replica_id": -1, "topics": [{"name": "data", "partitions": []}]}),
    *(Case(f"fetch {what} twice v{version}", 1, version, values) for version in (4, 12) for what, values in (
        ("topic", joined("topics", fetch_values("twice", 0), fetch_values("twice", 2))),
        ("unknown", twice(fetch_values("nowhere", 0), "topics")),
        ("bad and good", joined("topics", fetch_values("twice", -5), fetch_values("twice", 0))),
        ("one of three", joined("topics", fetch_values("twice", 0), fetch_values("small", 0),
                                fetch_values("twice", 0, partition=1), fetch_values("twice", 3))))),
    Case("fetch id twice", 1, 16, lambda state: twice(by_id("twice")(state), "topics")),
    Case("fetch unknown id twice", 1, 16, lambda state: twice(by_id("nowhere")(state), "topics")),
    Case("fetch no partitions", 1, 12, {**fetch_values("twice", 0), "topics": [{"topic": "twice", "partitions": []}]}),
    Case("session twice", 1, 12, joined("topics", fetch_values("twice", 0, session_epoch=0), fetch_values("twice", 2)),
         save=save("session twice", "session_id")),
    Case("session twice, next", 1, 12, lambda state: joined(
        "topics", fetch_values("twice", 0, session_id=state.saved["session twice"], session_epoch=1),
        fetch_values("twice", 5))),
    Case("leader epoch topic twice", 23, 4, twice(epochs("small"), "topics")),
    Case("leader epoch partition twice", 23, 4, twice(epochs("small"), "topics", "partitions")),
    Case("leader epoch unknown twice", 23, 3, twice(epochs("nowhere"), "topics")),
    Case("delete records topic twice", 21, 2, joined("topics", delete_records("twice", 0, 1), delete_records("twice", 0, 2))),
    Case("delete records partition twice", 21, 1, twice(delete_records("twice", 0, 3), "topics", "partitions")),
    Case("delete records good, then bad", 21, 2, joined("topics", delete_records("twice", 0, 4),
                                                       delete_records("twice", 0, 400))),
    Case("delete records unknown twice", 21, 2, twice(delete_records("nowhere", 0, 3), "topics")),
    *(Case(f"metadata twice v{version}", 3, version, {"topics": [{"name": "data"}, {"name": "nowhere"}, {"name": "data"},
                                                                 {"name": "nowhere"}],
                                                      "allow_auto_topic_creation": False}) for version in (8, 12)),
    Case("metadata id twice", 3, 12, lambda state: {"topics": [{"name": None, "topic_id": state.topic_ids["data"]}] * 2}),
    Case("metadata id and name", 3, 12, lambda state: {
        "topics": [{"name": None, "topic_id": state.topic_ids["data"]}, {"name": "data"}]}),
    Case("metadata unknown id twice", 3, 12, {"topics": [{"name": None, "topic_id": UNKNOWN_ID}] * 2}),
    Case("describe partitions twice", 75, 0, {"topics": [{"name": "data"}] * 2, "response_partition_limit": 2000}),
    Case("describe producers twice", 61, 0, {"topics": [{"name": "data", "partition_indexes": [1, 1]}] * 2}),
    Case("grow twice, apart", 37, 3, joined("topics", grow("assigned", 4), grow("nowhere", 4), grow("assigned", 5))),
    Case("alter resource twice", 44, 1, twice(alter(TOPIC, "data", ("segment.bytes", 0, "2000000")), "resources")),
    Case("alter unknown resource twice", 44, 1, twice(alter(TOPIC, "nowhere", ("segment.bytes", 0, "1")), "resources")),
    Case("alter one twice, one once", 44, 1, joined(
        "resources", *(alter(TOPIC, name, ("segment.ms", 0, "2000000"), validate=True) for name in ("data", "small", "data")))),
    Case("legacy alter key twice", 33, 2, legacy("data", ("retention.ms", "5"), ("retention.ms", "6"))),
    Case("configs resource twice", 32, 4, configs((TOPIC, "data", ["retention.ms"]), (TOPIC, "data", ["segment.bytes"])),
         view=without_documentation),
    Case("configs key twice", 32, 4, configs((TOPIC, "data", ["retention.ms", "retention.ms"])), view=without_documentation),
    Case("elect twice", 43, 2, {"election_type": 0, "timeout": 5000, "topic_partitions": [
        {"topic": "data", "partitions": [0, 0]}]}),
    Case("elect topic twice", 43, 2, {"election_type": 0, "timeout": 5000, "topic_partitions": [
        {"topic": "data", "partitions": [0]}, {"topic": "data", "partitions": [1, 0]}]}),
    Case("reassign twice", 45, 1, twice(reassign("data", 0, [1]), "topics", "partitions")),
    Case("reassign topic twice", 45, 1, twice(reassign("data", 0, [1]), "topics")),
    Case("log dirs twice", 35, 4, {"topics": [{"topic": "small", "partitions": [0, 0]}] * 2}, view=partitions_of_log_dirs),
    Case("move twice", 34, 2, lambda state: {"dirs": [
        {"path": path, "topics": [{"name": "assigned", "partitions": [0, 0]}]} for path in ("/nowhere", "relative")]}),
    Case("find coordinator twice", 10, 4, {"key_type": 0, "coordinator_keys": ["g1", "g1"]}),
    Case("commit partition twice", 8, 8, joined("topics", commit("simple2", 3), commit("simple2", 9))),
    Case("commit unknown twice", 8, 8, twice(commit("simple2", 3, topic="nowhere"), "topics", "partitions")),
    Case("offset fetch partition twice", 9, 7, {"group_id": "simple2", "topics": [
        {"name": "data", "partition_indexes": [0, 0]}] * 2}),
    Case("offset fetch group twice", 9, 8, {"groups": [{"group_id": "simple2", "topics": None}] * 2}),
    Case("describe group twice", 15, 5, {"groups": ["simple2", "simple2"]}),
    Case("offset delete twice", 47, 0, {"group_id": "simple2", "topics": [
        {"name": "data", "partitions": [{"partition_index": 0}, {"partition_index": 0}]}]}),
    Case("offset delete topic twice", 47, 0, {"group_id": "simple2", "topics": [
        {"name": "data", "partitions": [{"partition_index": 0}]}, {"name": "data", "partitions": [{"partition_index": 1}]}]}),
    Case("offset delete no partitions", 47, 0, {"group_id": "simple2", "topics": [{"name": "data", "partitions": []}]}),
    Case("offset delete no partitions, and unknown ones", 47, 0, {"group_id": "simple2", "topics": [
        {"name": "nowhere", "partitions": []}, {"name": "data", "partitions": []},
        {"name": "nowhere", "partitions": [{"partition_index": 0}]},
        {"name": "data", "partitions": [{"partition_index": 0}, {"partition_index": 77}]}]}),
    Case("leave twice", 13, 5, leave("simple2", ("who", None), ("who", None))),
    Case("delete group twice", 42, 2, {"groups_names": ["simple2", "simple2"]}),
    Case("delete unknown group twice", 42, 2, {"groups_names": ["nowhere", "nowhere"]}),
    Case("create config twice", 19, 7, {**(values := new_topic("later", validate=True)), "topics": [
        {**values["topics"][0], "configs": [{"name": "retention.ms", "value": "1"}, {"name": "retention.ms", "value": "2"}]}]}),
    Case("create assigned partition twice", 19, 7, {**(values := new_topic_assigned("later", {0: [1]})), "topics": [
        {**values["topics"][0], "assignments": values["topics"][0]["assignments"] * 2}]}),
    Case("delete topic by id twice", 20, 6, lambda state: {"topics": [
        {"name": None, "topic_id": state.topic_ids["twice"]}] * 2, "timeout": 5000}),
    Case("delete topic by name and id", 20, 6, lambda state: {"topics": [
        {"name": "twice"}, {"name": None, "topic_id": state.topic_ids["twice"]}], "timeout": 5000}),
    Case("delete unknown twice", 20, 6, {"topics": [{"name": "nowhere"}] * 2, "timeout": 5000}),
    Case("delete unknown id twice", 20, 6, {"topics": [{"name": None, "topic_id": UNKNOWN_ID}] * 2, "timeout": 5000}),
    Case("delete v5 twice", 20, 5, {"topic_names": ["nowhere", "nowhere"], "timeout": 5000}),
]
TWICE = [replace(case, view=without_messages) if case.api_key == 0 else case for case in TWICE_ALL]

PAGES = [
    *(Case(f"describe partitions cursor {name}/{partition}, {limit}", 75, 0, partitions_by_cursor(
        limit, name, partition, "data", "small", "assigned", "nowhere"))
      for limit, name, partition in ((2000, "data", 0), (1, "data", 1), (1, "data", 2), (2000, "data", 9), (3, "b", 0),
                                     (2000, "zzz", 0), (2, "nowhere", 0), (2000, "nowhere", 3), (2000, "data", -1),
                                     (2000, "bad name", 0), (2000, "", 0))),
    *(Case(f"describe partitions limit {limit}", 75, 0, {"topics": [{"name": "data"}, {"name": "assigned"}],
                                                         "response_partition_limit": limit})
      for limit in (0, -1, 2, 3, 4, 5)),
    Case("describe partitions all by unknown cursor", 75, 0, partitions_by_cursor(2000, "b", 0)),
    Case("describe partitions all by negative cursor", 75, 0, partitions_by_cursor(2000, "data", -1)),
    Case("describe partitions bad name", 75, 0, {"topics": [{"name": "bad name"}, {"name": ""}],
                                                 "response_partition_limit": 10}),
    Case("describe partitions all", 75, 0, {"topics": [], "response_partition_limit": 2000}),
    Case("describe partitions all, paged", 75, 0, {"topics": [], "response_partition_limit": 2}),
    *(Case(f"describe producers {name!r}", 61, 0, {"topics": [{"name": name, "partition_indexes": [0, -1]}]})
      for name in ("", "bad name", "small")),
    Case("describe producers nothing", 61, 0, {"topics": []}),
    *(Case(f"log dirs all v{version}", 35, version, {"topics": None}, view=log_dirs_of("compacted", "small"))
      for version in range(1, 5)),
    Case("log dirs nothing", 35, 4, {"topics": []}, view=partitions_of_log_dirs),
    Case("log dirs unknown partition", 35, 4, {"topics": [{"topic": "data", "partitions": [7]}]}),
    Case("reassignments of known", 46, 0, {"timeout": 5000, "topics": [{"name": "data", "partition_indexes": [0, 9]}]}),
    Case("reassignments of nothing", 46, 0, {"timeout": 5000, "topics": []}),
    *(Case(f"reassign v{version}", 45, version, reassign("data", 1, [1])) for version in (0, 1)),
    Case("reassign nothing", 45, 1, {"timeout": 5000, "topics": []}),
    Case("reassign without factor change", 45, 1, {**reassign("data", 0, [1]), "allow_replication_factor_change": False}),
    Case("reassign to two without factor change", 45, 1, {
        **reassign("data", 0, [1, 2]), "allow_replication_factor_change": False}),
    Case("elect v1", 43, 1, {"election_type": 0, "timeout": 5000, "topic_partitions": [
        {"topic": "data", "partitions": [0, -1]}]}),
    Case("elect unclean all", 43, 2, {"election_type": 1, "timeout": 5000, "topic_partitions": None}),
    Case("elect v0 all", 43, 0, {"timeout": 5000, "topic_partitions": None}),
    *(Case(f"producer id {pid}/{epoch} v{version}", 22, version, {
        "transactional_id": None, "transaction_timeout": 1000, "producer_id": pid, "producer_epoch": epoch})
      for version, pid, epoch in ((3, 5, 0), (4, 5, -1), (4, -1, 3), (5, 5, 7), (1, -1, -1))),
    Case("producer id empty transactional id", 22, 4, {
        "transactional_id": "", "transaction_timeout": 1000, "producer_id": -1, "producer_epoch": -1}),
]

SUBSCRIPTION_KEYS = ["interval.ms", "metrics", "match"]
GROUP_KEYS = ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "share.session.timeout.ms", "no.such.key"]
BROKER_KEYS = ["log.retention.ms", "log.segment.bytes", "log.cleanup.policy", "num.io.threads", "background.threads",
               "max.connections", "no.such.key"]
RESOURCES = [
    Case("configs of all brokers", 32, 4, configs((BROKER, "", None)), view=without_documentation),
    *(Case(f"configs of broker v{version}", 32, version, configs((BROKER, "1", BROKER_KEYS)), view=without_documentation)
      for version in (1, 2, 3, 4)),
    Case("configs without synonyms", 32, 4, {**configs((TOPIC, "data", TOPIC_KEYS)), "include_synonyms": False}),
    Case("configs of loggers", 32, 4, configs((LOGGER, "9", None), (LOGGER, "", None), (LOGGER, "x", None))),
    *(Case(f"configs of {kind} {name!r}, all", 32, 4, configs((kind, name, None)), view=without_documentation)
      for kind in (GROUP, CLIENT_METRICS) for name in ("g9", "")),
    *(Case(f"set {kind} {key}={value}", 44, 1, alter(kind, name, (key, 0, value)), settle=True)
      for kind, name, key, value in (
          (GROUP, "g9", "consumer.session.timeout.ms", "50000"), (GROUP, "g9", "consumer.session.timeout.ms", "1"),
          (GROUP, "g9", "no.such.key", "1"), (GROUP, "", "consumer.session.timeout.ms", "50000"),
          (GROUP, "g9", "consumer.heartbeat.interval.ms", "much"),
          (CLIENT_METRICS, "m1", "interval.ms", "5000"), (CLIENT_METRICS, "m1", "interval.ms", "5"),
          (CLIENT_METRICS, "m1", "metrics", "a.b,c"), (CLIENT_METRICS, "m1", "match", "client_id=x"),
          (CLIENT_METRICS, "m1", "match", "nonsense"), (CLIENT_METRICS, "m1", "no.such.key", "1"),
          (CLIENT_METRICS, "", "interval.ms", "5000"),
          (BROKER, "1", "log.retention.ms", "7000000"), (BROKER, "1", "log.retention.ms", "soon"),
          (BROKER, "1", "log.segment.bytes", "1"), (BROKER, "", "log.segment.bytes", "20000000"),
          (BROKER, "", "num.partitions", "3"), (BROKER, "1", "num.io.threads", "5"),
          (BROKER, "1", "log.cleanup.policy", "compact"), (BROKER, "", "max.connections", "1000"),
          (BROKER, "x", "log.retention.ms", "7000000"), (BROKER, "1", "advertised.listeners", "PLAINTEXT://x:1"),
          (LOGGER, "1", "no.such.logger", "DEBUG"), (LOGGER, "1", "root", "LOUD"), (LOGGER, "9", "root", "DEBUG"))),
    *(Case(f"operation {how} on {kind} {key}", 44, 1, alter(kind, name, (key, how, value)), settle=True)
      for kind, name, key, how, value in (
          (BROKER, "1", "log.cleanup.policy", 2, "delete"), (BROKER, "1", "log.cleanup.policy", 3, "compact"),
          (BROKER, "1", "log.cleanup.policy", 1, None), (BROKER, "1", "log.retention.ms", 2, "5"),
          (BROKER, "1", "log.retention.ms", 1, "7"), (BROKER, "", "log.segment.bytes", 1, None),
          (BROKER, "", "max.connections", 1, None), (BROKER, "1", "num.io.threads", 1, None),
          (GROUP, "g9", "consumer.session.timeout.ms", 2, "1"), (CLIENT_METRICS, "m1", "metrics", 2, "d.e,c"),
          (CLIENT_METRICS, "m1", "metrics", 3, "a.b"), (CLIENT_METRICS, "m1", "match", 3, "client_id=x"),
          (TOPIC, "small", "cleanup.policy", 3, "compact"), (TOPIC, "small", "cleanup.policy", 2, "compact,compact"),
          (TOPIC, "small", "cleanup.policy", 2, "shred"), (TOPIC, "small", "cleanup.policy", 3, "compact,delete"),
          (TOPIC, "small", "no.such.key", 1, None), (TOPIC, "small", "no.such.key", 2, "1"),
          (TOPIC, "small", "leader.replication.throttled.replicas", 2, "0:1"),
          (TOPIC, "small", "cleanup.policy", 1, None), (TOPIC, "small", "", 0, "1"))),
    Case("configs of changed resources", 32, 4, configs(
        (GROUP, "g9", GROUP_KEYS), (CLIENT_METRICS, "m1", SUBSCRIPTION_KEYS), (BROKER, "1", BROKER_KEYS),
        (BROKER, "", BROKER_KEYS), (TOPIC, "small", ["cleanup.policy", "leader.replication.throttled.replicas"])),
         view=without_documentation),
    *(Case(f"config resources {kinds} v{version}", 74, version, {"resource_types": kinds})
      for version, kinds in ((0, []), (1, [GROUP]), (1, [CLIENT_METRICS]), (1, [BROKER]), (1, [LOGGER]),
                             (1, [TOPIC, BROKER]), (1, [TOPIC, 99]))),
    *(Case(f"legacy alter {kind} {name!r} {entries}", 33, 2, legacy(name, *entries, kind=kind), settle=True)
      for kind, name, entries in (
          (TOPIC, "small", (("retention.ms", "-1"), ("max.message.bytes", "200"))), (TOPIC, "nowhere", ()),
          (TOPIC, "", ()), (TOPIC, "small", (("no.such.key", "1"),)), (TOPIC, "small", (("retention.ms", None),)),
          (BROKER, "1", (("log.retention.ms", "8000000"),)), (BROKER, "1", ()), (BROKER, "9", ()),
          (LOGGER, "1", (("root", "DEBUG"),)), (GROUP, "g9", ()), (CLIENT_METRICS, "m1", ()), (99, "a", ()))),
    Case("legacy alter v0", 33, 0, legacy("small", ("retention.ms", "-1"), ("max.message.bytes", "200")), settle=True),
    Case("configs after legacy", 32, 4, configs((TOPIC, "small", TOPIC_KEYS), (BROKER, "1", BROKER_KEYS),
                                               (GROUP, "g9", GROUP_KEYS)), view=without_documentation),
]

LIMITS = [
    *(Case(f"create {partitions} partitions", 19, 7, new_topic("later", partitions, validate=True))
      for partitions in (10_000, 10_001)),
    Case("create in two factors", 19, 7, new_topic_assigned("later", {0: [1], 1: []})),
    Case("create v2 validate", 19, 2, new_topic("later", validate=True)),
    Case("create v4 defaults", 19, 4, new_topic("later", -1, -1, validate=True)),
    Case("create v3 defaults", 19, 3, new_topic("later", -1, -1, validate=True)),
    Case("create two, one bad", 19, 7, joined("topics", new_topic("later", validate=True), new_topic("bad name"))),
    Case("create two that collide", 19, 7, joined("topics", new_topic("c.d", validate=True), new_topic("c_d"))),
    Case("create many in two", 19, 7, joined("topics", new_topic("later", 6000, validate=True), new_topic("later2", 6000))),
    Case("create many in two, one bad", 19, 7, joined(
        "topics", new_topic("later", 6000, validate=True), new_topic("bad name", 6000))),
    Case("create 9998 and a setting", 19, 7, new_topic("later", 9998, validate=True, configs={"retention.ms": "5"}),
         view=lambda answer: [each["error_code"] for each in answer["topics"]]),
    Case("create 9999 and a setting", 19, 7, new_topic("later", 9999, validate=True, configs={"retention.ms": "5"})),
    Case("create negative timeout", 19, 7, {**new_topic("later", validate=True), "timeout": -1}),
    Case("create negative timeout, one bad", 19, 7, {
        **joined("topics", new_topic("bad name"), new_topic("later"), new_topic("later")), "timeout": -1}),
    Case("grow negative timeout", 37, 3, {**grow("assigned", 4, validate=True), "timeout": -1}),
    Case("create zero timeout", 19, 7, {**new_topic("later", validate=True), "timeout": 0}),
    Case("create nothing, zero timeout", 19, 7, {"topics": [], "timeout": 0}),
    Case("grow zero timeout", 37, 3, {**grow("assigned", 4, validate=True), "timeout": 0}),
    Case("delete zero timeout", 20, 6, {"topics": [{"name": "nowhere", "topic_id": None}], "timeout": 0}),
    Case("delete negative timeout", 20, 6, {"topics": [{"name": "nowhere", "topic_id": None}], "timeout": -1}),
    *(Case(f"grow to {count}", 37, 3, grow("assigned", count, validate=True)) for count in (10_003, 10_004)),
    Case("grow v0", 37, 0, grow("nowhere", 3)),
    Case("grow nothing", 37, 3, {**grow("assigned", 3), "topics": []}),
    Case("delete nothing", 20, 6, {"topics": [], "timeout": 5000}),
    Case("delete v1", 20, 1, {"topic_names": ["nowhere", "bad name"], "timeout": 5000}),
    Case("delete records nothing", 21, 2, {"topics": [], "timeout": 5000}),
    Case("delete records of the offsets topic", 21, 2, delete_records("__consumer_offsets", 0, 0)),
    Case("produce to the offsets topic", 0, 9, produce_values("__consumer_offsets", TWO), view=without_messages),
    Case("create the offsets topic", 19, 7, new_topic("__consumer_offsets")),
]

OLD_GROUPS = [
    Case("old join", 11, 0, join("old"), save=save("old", "member_id")),
    Case("old sync", 14, 0, lambda state: sync("old", state.saved["old"], 1, assignment=b"mine")),
    *(Case(f"old sync again v{version}", 14, version, lambda state: sync("old", state.saved["old"], 1))
      for version in range(6)),
    Case("old sync without names", 14, 5, lambda state: {
        **sync("old", state.saved["old"], 1), "protocol_type": None, "protocol_name": None}),
    *(Case(f"old heartbeat v{version}", 12, version, lambda state: heartbeat("old", state.saved["old"], 1))
      for version in range(5)),
    *(Case(f"old commit v{version}", 8, version, lambda state: commit("old", 3, generation=1, member=state.saved["old"]))
      for version in range(2, 10)),
    Case("commit by id", 8, 10, lambda state: {
        **(values := commit("old", 4, generation=1, member=state.saved["old"])), "topics": [
            {"topic_id": state.topic_ids["data"], "partitions": values["topics"][0]["partitions"]}]}),
    *(Case(f"old fetch v{version}", 9, version, {"group_id": "old", "topics": WANTED, "groups": [
        {"group_id": "old", "topics": WANTED}]}) for version in range(1, 10)),
    Case("offset fetch by id", 9, 10, lambda state: {"groups": [{"group_id": "old", "topics": [
        {"topic_id": state.topic_ids["data"], "partition_indexes": [0, 1, 9]}]}, {"group_id": "nowhere", "topics": None}]}),
    Case("offset fetch no groups", 9, 8, {"groups": []}),
    *(Case(f"old describe v{version}", 15, version, {"groups": ["old", "nowhere"]}) for version in range(7)),
    *(Case(f"old list v{version}", 16, version, {}, view=groups_named("old")) for version in range(6)),
    *(Case(f"list {states} {types}", 16, 5, {"states_filter": states, "types_filter": types}, view=groups_named("old"))
      for states, types in ((["Stable", "Empty"], []), (["STABLE"], ["CLASSIC"]), (["Empty"], ["classic"]), ([], ["consumer"]),
                            ([], ["consumer", "classic"]), (["Dead"], []), ([""], []), ([], [""]),
                            (["preparingrebalance"], []), ([], ["share", "streams", "unknown"]))),
    *(Case(f"rejoin leader v{version}", 11, version, lambda state: join("old", state.saved["old"])) for version in range(10)),
    *(Case(f"find coordinator v{version}", 10, version, {"key": "old", "key_type": 0, "coordinator_keys": ["old"]})
      for version in range(7)),
    *(Case(f"leave unknown v{version}", 13, version, {"group_id": "old", "member_id": "who", "members": [
        {"member_id": "who", "group_instance_id": None, "reason": None}]}) for version in range(6)),
    Case("old leave", 13, 0, lambda state: {"group_id": "old", "member_id": state.saved["old"]}),
    *(Case(f"old delete unknown v{version}", 42, version, {"groups_names": ["nowhere"]}) for version in range(3)),
    Case("old delete", 42, 0, {"groups_names": ["old"]}),
    Case("delete no groups", 42, 2, {"groups_names": []}),
    Case("describe no groups", 15, 5, {"groups": []}),
]

# A body that cannot be parsed closes the connection. Bytes after the body are ignored.
BROKEN = [
    *(Case(f"empty body of {key}", key, version, body=b"")
      for key, version in ((0, 9), (1, 12), (2, 8), (3, 12), (8, 8), (9, 7), (10, 4), (11, 9), (12, 4), (13, 5), (14, 5),
                           (15, 5), (16, 4), (19, 7), (20, 6), (21, 2), (22, 4), (23, 4), (32, 4), (33, 2), (34, 2),
                           (35, 4), (37, 3), (42, 2), (43, 2), (44, 1), (45, 1), (46, 0), (47, 0), (60, 1), (61, 0),
                           (74, 1), (75, 0))),
    *(Case(f"version {version} of {key}", key, version, body=b"\0" * 40)
      for key, version in ((0, 99), (1, 3), (1, 99), (2, 0), (8, 1), (9, 0), (3, 99), (12, 99), (19, 1), (75, 9), (-1, 0),
                           (999, 0), (0, -1), (18, 99))),
    Case("trailing bytes", 60, 0, {}, body=b"\0\0more"),
    Case("trailing bytes of metadata", 3, 8, body=b"\0\0\0\0\0\0\0more"),
    Case("trailing bytes of offsets", 2, 1, body=b"\xff\xff\xff\xff\0\0\0\0more"),
    Case("array length that lies", 3, 8, body=b"\x7f\xff\xff\xff\0\0\0"),
    Case("array length below -1", 3, 8, body=b"\xff\xff\xff\xf0\0\0\0"),
    Case("array length below -1, cold", 42, 1, body=b"\xff\xff\xff\xf0"),
    Case("null array, cold", 42, 1, body=b"\xff\xff\xff\xff"),
    Case("null string, cold", 10, 0, body=b"\xff\xff"),
    Case("not UTF-8", 15, 0, body=b"\0\0\0\1\0\2\xff\xfe"),
    Case("unknown tag", 60, 0, body=b"\0\1\x63\2ab"),
]

DELETE = [
    Case("delete unknown", 20, 6, {"topics": [{"name": "nowhere"}], "timeout": 5000}),
    Case("delete unknown id", 20, 6, {"topics": [{"name": None, "topic_id": UNKNOWN_ID}], "timeout": 5000}),
    Case("delete nothing named", 20, 6, {"topics": [{"name": None, "topic_id": None}], "timeout": 5000}),
    Case("delete name and id", 20, 6, lambda state: {
        "topics": [{"name": "small", "topic_id": state.topic_ids["small"]}], "timeout": 5000}),
    Case("delete twice", 20, 6, {"topics": [{"name": "small"}, {"name": "small"}], "timeout": 5000}),
    Case("delete by id", 20, 6, lambda state: {
        "topics": [{"name": None, "topic_id": state.topic_ids["small"]}], "timeout": 5000}, settle=True),
    Case("delete v5", 20, 5, {"topic_names": ["compacted", "nowhere"], "timeout": 5000}, settle=True),
    Case("fetch deleted", 1, 16, by_id("small")),
    Case("metadata deleted", 3, 12, {"topics": [{"name": "small"}], "allow_auto_topic_creation": False}),
]
# fmt: on

TABLE = [
    *API_VERSIONS, *CREATE, *METADATA, *PRODUCE, *LIST_OFFSETS, *FETCH, *GROUPS, *OFFSET_FETCH, *CONFIGS,
    *PARTITIONS, *TWICE, *PAGES, *RESOURCES, *RULES, *LIMITS, *OLD_GROUPS, *BROKEN, *DELETE,
    *(case for case in SECURITY if case.api_key not in (38, 39, 40)),  # kio reads no timestamp of -1
    *CORDON, *QUOTAS, *STREAMS,
]  # fmt: skip

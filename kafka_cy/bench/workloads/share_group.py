"""A share group: its members fetch records and acknowledge them with the next ShareFetch, one connection per member.

A request is a ShareFetch that brought records; its records count when they have been acknowledged. The topic is filled first.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import partial

from kafka_cy.bench.bench_topic import BenchTopic, bench_topic, offsets
from kafka_cy.bench.brokers import BrokerError, Target, connect_admin
from kafka_cy.bench.load_options import LoadOptions, OptionError
from kafka_cy.bench.measure import Load
from kafka_cy.bench.threaded_load import LoadFailure, ThreadedLoad
from kafka_cy.bench.wire import HEADER_SIZE, NO_TAGS, NULL, Reader, Wire, compact, compact_array, flexible_request
from kafka_cy.bench.workloads.consume import fill
from kafka_cy.bench.workloads.groups import prepare_coordinator

SHARE_GROUP_HEARTBEAT, SHARE_FETCH = 76, 78
VERSION = 1
MAX_RECORDS = 500  # max.poll.records of the Java consumer
MAX_WAIT_MS = 100
HEARTBEAT_S = 1.0
ACCEPT = b"\x01"
JOIN_TIMEOUT_S = 60.0

HEAD = struct.Struct(">ihx")  # throttle time, error, message (null)
NUMBER = struct.Struct(">i")
PARTITION = struct.Struct(">ihxhxiix")  # index, error, message, acknowledge error, message, leader id and epoch, tags
ACQUIRED = struct.Struct(">qqhx")  # first offset, last offset, delivery count, tags
Batches = dict[int, list[tuple[int, int]]]  # acquired records (first, last offset) by partition


class Passes:
    """The groups that read the topic one after the other: a share group reads it once. Any thread may call it."""

    def __init__(self, target: Target, topic: BenchTopic) -> None:
        self._target = target
        starts, ends = offsets(target, topic)
        self._records = self._left = sum(ends) - sum(starts)
        self._lock = threading.Lock()
        self.group = ""
        self._begin()

    def _begin(self) -> None:
        group = f"bench-{uuid.uuid4().hex[:8]}"
        begin_at_the_start(self._target, group)
        self.group, self._left = group, self._records

    def read(self, count: int) -> None:
        """So many records were acquired. After the last one another group begins."""
        with self._lock:
            self._left -= count
            if self._left <= 0:
                self._begin()


@contextlib.contextmanager
def load(target: Target, options: LoadOptions) -> Iterator[Load]:
    """`consumers` members of one group, and of another when it has read everything. Needs a single broker.

    Raises BrokerError, OptionError.
    """
    with bench_topic(target, options) as topic:
        if len(set(topic.leaders)) > 1:
            raise OptionError("The share group load supports only a single broker.")
        fill(target, topic, options, options.fill_bytes)
        prepare_coordinator(target, "bench", topic.name)
        passes = Passes(target, topic)
        topic_id = id_of(target, topic.name)
        members = ThreadedLoad(options)
        for _ in range(options.consumers):
            try:
                member = joined(ShareMember(topic.leaders[0], passes.group, topic, topic_id))
            except LoadFailure as failure:
                raise BrokerError(str(failure)) from None
            members.add(partial(consume, members, passes, member))
        yield members


def begin_at_the_start(target: Target, group: str) -> None:
    """Set share.auto.offset.reset of the group to earliest."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    entry = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[entry])
    admin = connect_admin(target)  # kept: its futures never finish once it is collected
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def id_of(target: Target, topic: str) -> bytes:
    """The id of the topic."""
    from confluent_kafka import TopicCollection

    admin = connect_admin(target)
    described = admin.describe_topics(TopicCollection([topic]))[topic].result(30)
    words = described.topic_id.get_most_significant_bits(), described.topic_id.get_least_significant_bits()
    return struct.pack(">qq", *words)


def joined(member: ShareMember) -> ShareMember:
    """The member, when it has partitions. Raises LoadFailure."""
    deadline_s = time.monotonic() + JOIN_TIMEOUT_S
    while not member.join():
        if time.monotonic() > deadline_s:
            raise LoadFailure("A member of the share group got no partitions.")
    return member


def consume(load: ThreadedLoad, passes: Passes, member: ShareMember) -> None:
    """One member: fetch and acknowledge until the time is over."""
    try:
        while not load.is_over():
            if member.group != passes.group:
                member.close()
                member = joined(member.in_group(passes.group))
            began_ns = time.monotonic_ns()
            acquired, size = member.fetch()
            count = sum(last - first + 1 for batches in acquired.values() for first, last in batches)
            if count:
                load.answered(began_ns, count, size)
                passes.read(count)
            member.keep_alive()
    finally:
        member.close()


class ShareMember:
    """A member of a share group. Owner: one thread. Raises LoadFailure when the broker answers with an error."""

    def __init__(self, address: tuple[str, int], group: str, topic: BenchTopic, topic_id: bytes) -> None:
        self.group = group
        self._address, self._topic, self._topic_id = address, topic, topic_id
        self._fetching, self._beating = Wire(address), Wire(address)
        self._member_id = str(uuid.uuid4())
        self._epoch = self._session_epoch = 0
        self._partitions: list[int] = []
        self._beat_s = 0.0
        self._acquired: Batches = {}

    def in_group(self, group: str) -> ShareMember:
        """A new member of another group."""
        return ShareMember(self._address, group, self._topic, self._topic_id)

    def join(self) -> bool:
        """One heartbeat; whether it has partitions."""
        topics = compact_array([compact(self._topic.name)]) if not self._epoch else NULL
        body = compact(self.group) + compact(self._member_id) + struct.pack(">i", self._epoch) + NULL + topics + NO_TAGS
        answer = Reader(self._beating.ask(flexible_request(SHARE_GROUP_HEARTBEAT, VERSION, body)), HEADER_SIZE)
        _, error = answer.unpack(struct.Struct(">ih"))
        answer.skip_compact()
        if error in (14, 15, 16):  # the coordinator is still loading
            time.sleep(0.05)
            return False
        if error:
            raise LoadFailure(f"ShareGroupHeartbeat got the error {error}.")
        answer.skip_compact()
        self._epoch, _ = answer.unpack(struct.Struct(">ii"))
        self._beat_s = time.monotonic()
        if answer.data[answer.at] == 1:  # an assignment follows (a nullable struct)
            answer.at += 1
            self._partitions = []
            for _ in range(answer.count()):
                answer.at += 16
                self._partitions += [answer.unpack(NUMBER)[0] for _ in range(answer.count())]
                answer.at += 1
        if not self._partitions:
            time.sleep(0.05)
        return bool(self._partitions)

    def keep_alive(self) -> None:
        """A heartbeat, if it is time for one."""
        if time.monotonic() - self._beat_s > HEARTBEAT_S:
            self.join()

    def fetch(self) -> tuple[Batches, int]:
        """Acknowledge what was acquired before, and acquire more; (acquired records, bytes of the response)."""
        named = self._acquired if self._session_epoch else dict.fromkeys(self._partitions, ())
        partitions = [NUMBER.pack(index) + acknowledgements(batches) + NO_TAGS for index, batches in named.items()]
        body = (
            compact(self.group) + compact(self._member_id)
            + struct.pack(">iiiiii", self._session_epoch, MAX_WAIT_MS, 1, 0x7FFFFFFF, MAX_RECORDS, MAX_RECORDS)
            + compact_array([self._topic_id + compact_array(partitions) + NO_TAGS] if partitions else [])
            + compact_array([]) + NO_TAGS
        )  # fmt: skip
        data = self._fetching.ask(flexible_request(SHARE_FETCH, VERSION, body))
        self._session_epoch += 1
        self._acquired = acquired_of(data)
        return self._acquired, len(data)

    def close(self) -> None:
        """Leave with closed connections: what was acquired is released."""
        self._fetching.close()
        self._beating.close()


def acknowledgements(batches: Iterable[tuple[int, int]]) -> bytes:
    """The batches, accepted, as in a ShareFetch request."""
    return compact_array([struct.pack(">qq", *each) + compact_array([ACCEPT]) + NO_TAGS for each in batches])


def acquired_of(data: bytes) -> Batches:
    """The acquired records in a ShareFetch response. Raises LoadFailure when it has an error."""
    answer = Reader(data, HEADER_SIZE)
    _, error = answer.unpack(HEAD)
    if error:
        raise LoadFailure(f"ShareFetch got the error {error}.")
    answer.unpack(NUMBER)
    acquired: Batches = {}
    for _ in range(answer.count()):
        answer.at += 16
        for _ in range(answer.count()):
            index, error, acknowledge_error, _, _ = answer.unpack(PARTITION)
            if error or acknowledge_error:
                raise LoadFailure(f"A partition of a ShareFetch got the errors {error} and {acknowledge_error}.")
            answer.skip_compact()
            batches = [answer.unpack(ACQUIRED)[:2] for _ in range(answer.count())]
            if batches:
                acquired[index] = [(first, last) for first, last in batches]
            answer.at += 1
        answer.at += 1
    return acquired

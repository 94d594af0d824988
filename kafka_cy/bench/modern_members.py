"""Members of groups whose heartbeats differ from those of plain consumers: static ones, with a regular expression, of share groups
(KIP-932), of streams groups (KIP-1071)."""

from __future__ import annotations

from typing import Final

from kafka_cy.bench.group_members import NUMBER, REBALANCE_TIMEOUT_MS, ConsumerMember
from kafka_cy.bench.wire import NO_TAGS, NULL, Reader, compact, compact_array, flexible_request

SHARE_GROUP_HEARTBEAT, STREAMS_GROUP_HEARTBEAT = 76, 88
SHARE_VERSION, STREAMS_VERSION = 1, 0
NO_STRUCT, NOTHING, FALSE = b"\xff", compact_array([]), b"\0"
LEFT: Final = -1  # epoch of a member that leaves


class StaticMember(ConsumerMember):
    """Its instance id is in each heartbeat."""

    def __init__(self, address: tuple[str, int], group: str, topic: str) -> None:
        super().__init__(address, group, topic)
        self._instance = compact(f"instance-{self.member_id}")


class RegexMember(ConsumerMember):
    """It subscribes with a regular expression, which it does not repeat."""

    def _subscription(self) -> tuple[bytes, bytes]:
        return NULL, compact(self._topic.replace(".", "\\."))


class ShareMember(ConsumerMember):
    """ShareGroupHeartbeat: nothing is acknowledged."""

    def _heartbeat(self, tells: bool) -> bytes:
        names = NULL if self.epoch else self._subscription()[0]
        body = compact(self.group) + compact(self.member_id) + NUMBER.pack(self.epoch) + NULL + names + NO_TAGS
        return flexible_request(SHARE_GROUP_HEARTBEAT, SHARE_VERSION, body)


class StreamsMember(ConsumerMember):
    """StreamsGroupHeartbeat of a process with one thread, and a topology that reads the topic."""

    def _heartbeat(self, tells: bool) -> bytes:
        joins = not self.epoch
        subtopology = compact("0") + self._subscription()[0] + NOTHING * 5 + NO_TAGS
        topology = b"\1" + NUMBER.pack(0) + compact_array([subtopology]) + NO_TAGS
        tasks = self.owned + NOTHING + NOTHING if tells else NULL * 3
        body = compact(self.group) + compact(self.member_id) + NUMBER.pack(self.epoch) + NUMBER.pack(0) + NULL + NULL
        body += NUMBER.pack(REBALANCE_TIMEOUT_MS if joins else -1) + (topology if joins else NO_STRUCT) + tasks
        body += (compact(self.member_id) if joins else NULL) + NO_STRUCT + (NOTHING if joins else NULL)
        return flexible_request(STREAMS_GROUP_HEARTBEAT, STREAMS_VERSION, body + NULL + NULL + FALSE + NO_TAGS)

    def _takes(self, answer: Reader) -> bool:
        answer.at += 8  # recovery lag, interval of task offsets
        for _ in range(answer.count()):  # statuses
            answer.at += 1
            answer.skip_compact()
            answer.at += 1
        if not answer.data[answer.at]:
            return False
        tasks, self.count = [], 0
        for _ in range(answer.count()):
            begin = answer.at
            answer.skip_compact()
            count = answer.count()
            answer.at += 4 * count + 1  # the partitions, and no tags
            self.count += count
            tasks.append(answer.data[begin : answer.at])
        self.owned, self._tells = compact_array(tasks), True
        return True


MEMBER_KINDS: Final[dict[str, type[ConsumerMember]]] = {
    "consumer": ConsumerMember, "static": StaticMember, "regex": RegexMember, "share": ShareMember, "streams": StreamsMember,
}  # fmt: skip

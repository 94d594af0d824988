"""The requests with which a follower asks its leader: ListOffsets (its log's end or start) and OffsetForLeaderEpoch.

Versions follow from inter.broker.protocol.version, nothing is negotiated: ListOffsets 5 to 9, OffsetForLeaderEpoch 3 and 4.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from kafka_cy.protocol.controller_messages.wire import Input, Output
from kafka_cy.protocol.decoder import MalformedRequest
from kafka_cy.replication.follower_decisions import Answer, Key, Question

LIST_OFFSETS = 2
OFFSET_FOR_LEADER_EPOCH = 23
LIST_OFFSETS_FLEXIBLE_FROM = 6
OFFSET_FOR_LEADER_EPOCH_FLEXIBLE_FROM = 4
LATEST, EARLIEST = -1, -2  # timestamps of ListOffsets
NO_ANSWER = Answer(-1)  # UNKNOWN_SERVER_ERROR: asked again later
_asked = struct.Struct(">iiq")
_asked_epoch = struct.Struct(">iii")
_listed = struct.Struct(">ihqqi")
_epoch_end = struct.Struct(">hiiq")


class LeaderRequest(NamedTuple):
    """One request; `questions` are those that it asks, in any order."""

    api_key: int
    version: int
    flexible: bool
    body: bytes
    questions: tuple[Question, ...]


def requests_for(
    questions: Sequence[Question], broker_id: int, list_offsets_version: int, epoch_version: int
) -> list[LeaderRequest]:
    """The requests for these questions to one leader: at most one of each API."""
    ranges = tuple(each for each in questions if each.kind != "epoch")
    epochs = tuple(each for each in questions if each.kind == "epoch")
    found = []
    if ranges:
        flexible = list_offsets_version >= LIST_OFFSETS_FLEXIBLE_FROM
        head = struct.pack(">ib", broker_id, 0)  # read_uncommitted
        body = _body(head, ranges, flexible)
        found.append(LeaderRequest(LIST_OFFSETS, list_offsets_version, flexible, body, ranges))
    if epochs:
        flexible = epoch_version >= OFFSET_FOR_LEADER_EPOCH_FLEXIBLE_FROM
        body = _body(struct.pack(">i", broker_id), epochs, flexible)
        found.append(LeaderRequest(OFFSET_FOR_LEADER_EPOCH, epoch_version, flexible, body, epochs))
    return found


def _body(head: bytes, questions: Sequence[Question], flexible: bool) -> bytes:
    out = Output(flexible)
    out += head
    topics: dict[str, list[Question]] = {}
    for question in questions:
        topics.setdefault(question.key[0], []).append(question)
    out.array_length(len(topics))
    for topic, its in topics.items():
        out.string(topic)
        out.array_length(len(its))
        for question in its:
            index = question.key[1]
            if question.kind == "epoch":
                out += _asked_epoch.pack(index, question.leader_epoch, question.epoch)
            else:
                out += _asked.pack(index, question.leader_epoch, LATEST if question.kind == "end" else EARLIEST)
            out.no_tags()
        out.no_tags()
    out.no_tags()
    return bytes(out)


def answers_in(request: LeaderRequest, body: bytes) -> dict[Question, Answer]:
    """What the leader answered; NO_ANSWER for a partition that it left out. Raises MalformedRequest."""
    given = Input(body, request.flexible)
    given.int32()  # throttle time
    found: dict[Key, Answer] = {}
    for _ in range(given.array_length(3)):
        topic = given.string()
        for _ in range(given.array_length(18)):
            if request.api_key == LIST_OFFSETS:
                index, error, _, offset, epoch = given.fixed(_listed)
            else:
                error, index, epoch, offset = given.fixed(_epoch_end)
            found[topic, index] = Answer(error, offset, epoch)
            given.skip_tags()
        given.skip_tags()
    given.skip_tags()
    return {question: found.get(question.key, NO_ANSWER) for question in request.questions}


__all__ = ["NO_ANSWER", "LeaderRequest", "MalformedRequest", "answers_in", "requests_for"]

"""The membership of a client in the group whose offsets it commits: the broker checks its generation or epoch."""

from __future__ import annotations

import random
from typing import Any

from kafka_cy.protocol.errors import ErrorCode

from .client import Client

NO_MEMBERS, CLASSIC, CONSUMER = "no members", "classic", "consumer"
REBALANCE_MS = 50  # who does not join again by then is put out of a classic group
SESSION_MS = 30_000
NEVER = 1_000_000  # no epoch is that high
REFUSED = {
    ErrorCode.ILLEGAL_GENERATION,
    ErrorCode.REBALANCE_IN_PROGRESS,
    ErrorCode.UNKNOWN_MEMBER_ID,
    ErrorCode.STALE_MEMBER_EPOCH,
    ErrorCode.FENCED_MEMBER_EPOCH,
    ErrorCode.UNRELEASED_INSTANCE_ID,
}


class Member:
    """One member of a group of this kind. Others join it, or are put out of it, at any time."""

    def __init__(self, client: Client, group: str, kind: str, name: str, topics: list[str]) -> None:
        self.client = client
        self.group = group
        self.kind = kind
        self.topics = topics
        self.member_id = name if kind == CONSUMER else ""
        self.epoch = -1  # or generation
        self._owned: list[dict[str, Any]] = []

    @property
    def needs_to_join(self) -> bool:
        return self.kind != NO_MEMBERS and self.epoch < 0

    def identity(self, chance: random.Random) -> tuple[str, int]:
        """Member id and epoch for a commit. Sometimes an older epoch, which may do (KIP-1251), or one that never was."""
        choice = chance.random()
        if self.epoch < 0 or choice > 0.15:
            return self.member_id, self.epoch
        return self.member_id, self.epoch - 1 if choice < 0.1 and self.epoch > 1 else self.epoch + NEVER

    def never_was(self, identity: tuple[str, int]) -> bool:
        """Whether a commit with it has to be refused."""
        return identity[1] >= NEVER

    def lost(self) -> None:
        """The group has refused us."""
        self.epoch = -1

    def join(self) -> ErrorCode:
        """Raises Closed."""
        return self._join_classic() if self.kind == CLASSIC else self._beat(0)

    def beat(self) -> ErrorCode:
        """Tell a consumer group that we are there: the next epoch may be the answer. Raises Closed."""
        return self._beat(self.epoch) if self.kind == CONSUMER and self.epoch >= 0 else ErrorCode.NONE

    def _beat(self, epoch: int) -> ErrorCode:
        joins = epoch == 0
        fields = {
            "group_id": self.group, "member_id": self.member_id, "member_epoch": epoch, "instance_id": None, "rack_id": None,
            "rebalance_timeout": SESSION_MS if joins else -1, "subscribed_topic_names": self.topics if joins else None,
            "subscribed_topic_regex": None, "server_assignor": None, "topic_partitions": [] if joins else self._owned,
        }  # fmt: skip
        error, answer = self.client.answer(68, 1, fields)
        if error:
            self.lost()
            return error
        self.epoch = answer["member_epoch"]
        if answer["assignment"] is not None:
            self._owned = answer["assignment"]["topic_partitions"]
        return error

    def _join_classic(self) -> ErrorCode:
        fields = {
            "group_id": self.group, "session_timeout": SESSION_MS, "rebalance_timeout": REBALANCE_MS, "member_id": self.member_id,
            "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": b""}],
        }  # fmt: skip
        error, answer = self.client.answer(11, 3, fields)
        self.member_id = "" if error else answer["member_id"]
        if error:
            return error
        fields = {
            "group_id": self.group, "generation_id": answer["generation_id"], "member_id": self.member_id,
            "assignments": [{"member_id": self.member_id, "assignment": b""}],
        }  # fmt: skip
        error, _ = self.client.answer(14, 2, fields)
        self.epoch = -1 if error else answer["generation_id"]
        return error

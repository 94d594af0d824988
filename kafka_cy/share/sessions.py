"""Share sessions: which partitions a member of a share group reads, kept between its requests (KIP-932).

Kafka: ShareSession, ShareSessionCache, ShareSessionContext.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple
from uuid import UUID

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.share_session import ShareSession

FIRST_EPOCH, FINAL_EPOCH = 0, -1
EPOCH_MAX = 0x7FFFFFFF
TopicPartition = tuple[UUID | None, int]  # None: the zero id, which no topic has


class SessionKey(NamedTuple):
    """A member has one session on each broker."""

    group_id: str
    member_id: str


class ShareSessions:
    """All sessions of this broker. Owner: one thread. Limits: `sessions_max` sessions, `partitions_max` partitions of them all."""

    def __init__(self, sessions_max: int, partitions_max: int) -> None:
        self.sessions_max = sessions_max
        self.partitions_max = partitions_max
        self.partition_count = 0
        self._coming = 0  # partitions that have their place already, and are being added
        self._sessions: dict[SessionKey, ShareSession] = {}
        self._by_connection: dict[int, dict[SessionKey, None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, key: SessionKey, connection_id: int) -> tuple[ErrorCode, ShareSession | None]:
        """A new session in place of the member's old one. SHARE_SESSION_LIMIT_REACHED when there are too many."""
        self.close(key)
        if len(self._sessions) >= self.sessions_max:
            return ErrorCode.SHARE_SESSION_LIMIT_REACHED, None
        session = self._sessions[key] = ShareSession(key, connection_id)
        self._by_connection.setdefault(connection_id, {})[key] = None
        return ErrorCode.NONE, session

    def check(self, key: SessionKey, epoch: int) -> tuple[ErrorCode, ShareSession | None]:
        """The session of a request with an epoch, which only a correct one uses up.

        SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH.
        """
        session = self._sessions.get(key)
        if session is None:
            return ErrorCode.SHARE_SESSION_NOT_FOUND, None
        if epoch != FINAL_EPOCH and not session.advance(epoch):
            return ErrorCode.INVALID_SHARE_SESSION_EPOCH, None
        return ErrorCode.NONE, session

    def update(
        self, session: ShareSession, added: Iterable[TopicPartition], forgotten: Iterable[TopicPartition]
    ) -> Generator[None, None, ErrorCode]:
        """Change the session's partitions, one in each step. Nothing else changes them meanwhile, but the session may be closed.

        SHARE_SESSION_LIMIT_REACHED, and nothing changes, when there are too many. SHARE_SESSION_NOT_FOUND when it was closed.
        """
        new: dict[TopicPartition, None] = {}
        gone: dict[TopicPartition, None] = {}
        for partitions, changes, is_gone in ((added, new, False), (forgotten, gone, True)):
            for each in partitions:
                if (each in session) is is_gone:
                    changes[each] = None
                yield
        if self.partition_count + self._coming + len(new) - len(gone) > self.partitions_max:
            return ErrorCode.SHARE_SESSION_LIMIT_REACHED
        self._coming += len(new)
        coming = len(new)
        try:
            for each in gone:
                if not self.is_open(session):
                    return ErrorCode.SHARE_SESSION_NOT_FOUND
                session.remove(each)
                self.partition_count -= 1
                yield
            for each in new:
                if not self.is_open(session):
                    return ErrorCode.SHARE_SESSION_NOT_FOUND
                session.add(each)
                self.partition_count += 1
                self._coming -= 1
                coming -= 1
                yield
        finally:
            self._coming -= coming
        return ErrorCode.NONE if self.is_open(session) else ErrorCode.SHARE_SESSION_NOT_FOUND

    def is_open(self, session: ShareSession) -> bool:
        """Whether it has neither been closed nor replaced."""
        return self._sessions.get(session.key) is session

    def close(self, key: SessionKey) -> ShareSession | None:
        """End the member's session, if it has one."""
        session = self._sessions.pop(key, None)
        if session is not None:
            session.end()
            self.partition_count -= len(session)
            keys = self._by_connection[session.connection_id]
            del keys[key]
            if not keys:
                del self._by_connection[session.connection_id]
        return session

    def close_connection(self, connection_id: int) -> list[ShareSession]:
        """End the sessions of a connection, which was closed."""
        closed = [self.close(key) for key in list(self._by_connection.get(connection_id, ()))]
        return [session for session in closed if session is not None]

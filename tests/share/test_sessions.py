"""Share sessions: epochs, partitions, limits, the end with the connection."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.base.slices import at_once
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.sessions import EPOCH_MAX, FINAL_EPOCH, SessionKey, ShareSessions

KEY, OTHER = SessionKey("g", "m"), SessionKey("g", "n")
TOPIC = uuid.UUID(int=1)


def test_only_the_next_epoch_is_accepted_and_a_wrong_one_is_not_used_up() -> None:
    sessions = ShareSessions(10, 10)
    assert sessions.check(KEY, 1) == (ErrorCode.SHARE_SESSION_NOT_FOUND, None)
    _, session = sessions.open(KEY, 1)
    assert sessions.check(KEY, 2) == (ErrorCode.INVALID_SHARE_SESSION_EPOCH, None)
    assert sessions.check(KEY, 1) == (ErrorCode.NONE, session)
    assert sessions.check(KEY, 1) == (ErrorCode.INVALID_SHARE_SESSION_EPOCH, None)
    assert sessions.check(KEY, FINAL_EPOCH) == (ErrorCode.NONE, session)
    assert sessions.check(KEY, 2) == (ErrorCode.NONE, session)
    assert session is not None
    session.next_epoch = EPOCH_MAX
    sessions.check(KEY, EPOCH_MAX)
    assert session.next_epoch == 1


def test_a_new_session_replaces_the_old_one() -> None:
    sessions = ShareSessions(1, 10)
    _, old = sessions.open(KEY, 1)
    assert old is not None
    at_once(sessions.update(old, [(TOPIC, 0)], []))
    error, new = sessions.open(KEY, 2)
    assert (error, len(sessions), sessions.partition_count) == (ErrorCode.NONE, 1, 0)
    assert new is not None and not new.partitions
    assert sessions.close_connection(1) == []


def test_limits_of_sessions_and_partitions() -> None:
    sessions = ShareSessions(1, 2)
    _, session = sessions.open(KEY, 1)
    assert session is not None
    assert sessions.open(OTHER, 1) == (ErrorCode.SHARE_SESSION_LIMIT_REACHED, None)
    partitions = [(TOPIC, index) for index in range(3)]
    assert at_once(sessions.update(session, partitions, [])) == ErrorCode.SHARE_SESSION_LIMIT_REACHED
    assert not session.partitions
    assert at_once(sessions.update(session, partitions[:2], [])) == ErrorCode.NONE
    assert at_once(sessions.update(session, partitions[2:], partitions[:1])) == ErrorCode.NONE
    assert list(session.partitions) == partitions[1:]


def test_a_partition_that_was_served_comes_last() -> None:
    sessions = ShareSessions(1, 9)
    _, session = sessions.open(KEY, 1)
    assert session is not None
    at_once(sessions.update(session, [(TOPIC, index) for index in range(3)], []))
    session.served((TOPIC, 0))
    assert [index for _, index in session.partitions] == [1, 2, 0]


@pytest.mark.parametrize("connections", [1, 2])
def test_sessions_end_with_their_connection(connections: int) -> None:
    sessions = ShareSessions(10, 10)
    sessions.open(KEY, 0)
    sessions.open(OTHER, connections - 1)
    closed = sessions.close_connection(0)
    assert len(closed) + connections == 3
    assert len(sessions) == connections - 1


PARTITIONS = st.lists(st.tuples(st.just(TOPIC), st.integers(0, 5)), max_size=4)


@given(st.lists(st.tuples(st.sampled_from([KEY, OTHER]), st.integers(0, 3), PARTITIONS, PARTITIONS), max_size=20))
def test_the_count_of_partitions_is_that_of_all_sessions(steps: list[tuple[SessionKey, int, list, list]]) -> None:  # type: ignore[type-arg]
    sessions = ShareSessions(10, 6)
    live = {}
    for key, action, added, forgotten in steps:
        if action == 0:
            live[key] = sessions.open(key, 1)[1]
        elif action == 1:
            sessions.close(key)
            live.pop(key, None)
        elif live.get(key) is not None:
            at_once(sessions.update(live[key], added, forgotten))
        assert sessions.partition_count == sum(len(session.partitions) for session in live.values()) <= 6

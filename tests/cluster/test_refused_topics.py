"""Settings of topics that ZooKeeper refuses to tell: somebody has set an ACL. No other topic waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.cluster.store import NoAuthError, SessionExpired, StoreBroken
from kafka_cy.cluster.stored_configs import REFUSED_AGAIN_MS_MAX
from kafka_cy.protocol.controller_messages.update_metadata import LEADER_DURING_DELETE
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.repeated_lines import LINES_MAX, RepeatedLines
from tests.cluster.test_settings_of_new_topics import DAY, KEEP, Member, topic

REFUSED = "the settings of topics may not be read"


def refuse(member: Member, *names: str) -> Callable[..., None]:
    """Refuse reads of the settings of these topics. Gives what reads them, for later."""
    read: Callable[..., None] = member._read
    refused = {f"/config/topics/{name}" for name in names}

    def denied(requests: Sequence[Any], done: Any) -> None:
        if any(each.path in refused for each in requests):
            done(None, NoAuthError("refused"))
        else:
            read(requests, done)

    member._read = denied
    return read


def test_a_topic_whose_settings_may_not_be_read_holds_up_no_others() -> None:
    """Somebody has set an ACL of ZooKeeper. The controller would tell for ever."""
    member = Member()
    member.put("t", KEEP)
    member.put("u", DAY)
    read = refuse(member, "u")
    assert member.tell(topic("u", UUID(int=8)), topic("t", UUID(int=7))) == [ErrorCode.NONE]
    assert member.configs.malformed_topics == {"u"} and member.settings() == KEEP
    assert member.configs._log.count("may not be read") == 1  # type: ignore[attr-defined]
    member._read = read
    member.configs._notified(b'{"version":2,"entity_path":"topics/u"}')
    assert not member.configs.malformed_topics and member.cache.topic_config("u") == DAY


@pytest.mark.parametrize("is_known", [False, True])
def test_settings_that_may_not_be_read_are_read_when_they_may(is_known: bool) -> None:
    """ZooKeeper tells nobody of the ACL that the operator sets."""
    member = Member()
    member.put("t", DAY)
    if is_known:
        member.tell(topic("t", UUID(int=7)))
    read = member._read
    member._read = lambda requests, done: done(None, NoAuthError("refused"))
    if is_known:
        member.configs._notified(b'{"version":2,"entity_path":"topics/t"}')
        assert member.settings() == DAY, "those of before stay"
    else:
        member.tell(topic("t", UUID(int=7)))
    member.put("t", KEEP)
    for _ in range(3):
        (again,) = member.later
        member.later.clear()
        again()
    member._read = read
    member.later.pop()()
    assert member.settings() == KEEP and not member.later and not member.configs.malformed_topics


def test_what_is_read_one_by_one_is_not_older_than_what_a_notification_brings() -> None:
    member = Member()
    member.put("t", DAY)
    refuse(member, "u")
    member.is_slow = True
    answers = member.tell(topic("t", UUID(int=7)), topic("u", UUID(int=8)), topic("v", UUID(int=9)))
    for _ in range(2):
        member.answer()  # all were refused together; then t is answered
    member.put("t", KEEP)
    member.configs._notified(b'{"version":2,"entity_path":"topics/t"}')
    member.answer()  # u, and what was stored since
    assert not answers
    member.answer()  # v
    assert answers == [ErrorCode.NONE] and member.settings() == KEEP


def test_a_pass_over_many_topics_makes_one_line() -> None:
    """Else those of other kinds would be suppressed: only so many are told apart (RepeatedLines)."""
    member, written = Member(), []
    lines = RepeatedLines(lambda level, what, details: written.append((what, details)), lambda: 0.0)
    member.configs._log.repeated = lines.add  # type: ignore[method-assign, assignment]
    names = [f"{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(LINES_MAX // 2)]
    refuse(member, *names[: LINES_MAX // 4])
    member.tell(*[topic(name, UUID(int=number)) for number, name in enumerate(names, 1)])
    assert written == [(REFUSED, {"topics": LINES_MAX // 4, "first": "/config/topics/aa"})]
    member.later.pop()()
    assert len(lines._lines) == 1 and len(written) == 1


def test_the_next_pass_begins_some_time_after_the_end_of_one() -> None:
    """The longer they are refused, the longer is that time."""
    member = Member()
    for name in ("t", "u"):
        member.put(name, KEEP)
    read = refuse(member, "t", "u")
    member.tell(topic("t", UUID(int=7)))
    for _ in range(4):
        member.later.pop()()
    assert member.delays_ms == [10_000, 20_000, 40_000, REFUSED_AGAIN_MS_MAX, REFUSED_AGAIN_MS_MAX]
    member.is_slow = True
    member.later.pop()()
    member.configs._notified(b'{"version":2,"entity_path":"topics/t"}')
    member.tell(topic("u", UUID(int=8)))
    member.held.append(member.held.pop(0))  # the pass comes last
    while len(member.held) > 1:
        held = member.held.pop(0)
        held()
    assert not member.later and member.configs._refused, "a pass is not at its end"
    member.is_slow = False
    member._read = read
    member.answer()
    member.later.pop()()
    assert not member.later and member.settings() == KEEP == member.cache.topic_config("u")
    refuse(member, "t")
    member.configs._notified(b'{"version":2,"entity_path":"topics/t"}')
    assert member.delays_ms[-1] == 10_000


def test_a_pass_that_fails_is_made_again() -> None:
    member = Member()
    member.put("t", KEEP)
    read = refuse(member, "t")
    member.tell(topic("t", UUID(int=7)))
    for fault in (SessionExpired("the session has ended"), StoreBroken("a fault")):
        member._read = lambda requests, done, fault=fault: done(None, fault)
        member.later.pop()()
    assert member.configs._log.count("stored settings cannot be read") == 1  # type: ignore[attr-defined]
    member._read = read
    member.later.pop()()
    assert not member.later and member.settings() == KEEP


def test_malformed_settings_are_read_again() -> None:
    """An operator repairs the node with ZooKeeper's own tools, which write no notification."""
    member = Member()
    for name in ("t", "u"):
        member.store.create(f"/config/topics/{name}", b"{")
    assert member.tell(topic("t", UUID(int=7)), topic("u", UUID(int=8))) == [ErrorCode.NONE]
    assert member.configs.malformed_topics == {"t", "u"}
    member.later.pop()()
    assert member.delays_ms == [10_000, 20_000]
    member.put("t", KEEP)
    member.later.pop()()
    assert member.settings() == KEEP and member.configs.malformed_topics == {"u"}
    member.cache.logs = SimpleNamespace(has_topic=lambda name: False)
    member.tell(topic("u", UUID(int=8), leader=LEADER_DURING_DELETE))
    member.later.pop()()
    assert not member.later, "a topic that is deleted is not read any more"


def test_malformed_settings_of_many_topics_make_one_line() -> None:
    member, written = Member(), []
    lines = RepeatedLines(lambda level, what, details: written.append((what, details["path"])), lambda: 0.0)
    member.configs._log.repeated = lines.add  # type: ignore[method-assign, assignment]
    for name in ("t", "u"):
        member.store.create(f"/config/topics/{name}", b"{")
    member.tell(topic("t", UUID(int=7)), topic("u", UUID(int=8)))
    member.later.pop()()
    assert written == [("stored settings are malformed", "/config/topics/t")] and len(lines._lines) == 1

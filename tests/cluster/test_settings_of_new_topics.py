"""Settings of topics that are created anew: those of the earlier topic of that name must not clean the logs of the new one."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.base.slices import Slices
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.member_cache import NO_ID, MemberCache
from kafka_cy.cluster.store import Check, Create
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.stored_configs import StoredConfigs
from kafka_cy.protocol.controller_messages.update_metadata import (
    LEADER_DURING_DELETE,
    UpdateMetadataPartition,
    UpdateMetadataRequest,
    UpdateMetadataTopic,
)
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.metadata_updates import MetadataUpdates
from tests.cluster.store_owner import Log

DAY, KEEP = {"retention.ms": "86400000"}, {"retention.ms": "-1"}


def data(values: dict[str, str]) -> bytes:
    texts = ",".join(f'"{key}":"{value}"' for key, value in values.items())
    return f'{{"version":1,"config":{{{texts}}}}}'.encode()


def topic(name: str, topic_id: UUID | None, leader: int = 1) -> UpdateMetadataTopic:
    return UpdateMetadataTopic(name, topic_id, (UpdateMetadataPartition(0, 1, leader, 0, (1,), 0, (1,), ()),))


class Member:
    """What the controller tells, and the settings that are stored."""

    def __init__(self) -> None:
        self.store = EmbeddedStore(None)
        self.store.multi([Create("/config"), Create("/config/topics")])
        self.asked: list[Any] = []  # of the store: paths that were read, and changes
        self.is_slow = False
        self.held: list[Any] = []  # reads that wait for `answer`
        self._read, self._submit = self.store.read, self.store.submit
        self.store.read, self.store.submit = self.read, self.submit  # type: ignore[method-assign]
        self.cache = MemberCache(1, ["PLAINTEXT"])
        self.later: list[Any] = []  # what is to be done later
        self.delays_ms: list[float] = []
        self.configs = StoredConfigs(
            self.store, self.cache, are_usable=lambda topic, values: True, wall_clock_ms=lambda: 0, call_later=self.call_later,
            log=Log(),
        )  # fmt: skip
        published: Any = SimpleNamespace(put=lambda topic: None, publish=lambda removed: None)
        slices: Any = SimpleNamespace(add=lambda steps, done=lambda: None: [*steps, done()])
        self.updates = MetadataUpdates(self.cache, self.configs, published, slices, Log(), lambda epoch: None)  # type: ignore[arg-type]

    def read(self, requests: Sequence[Any], done: Any) -> None:
        self.asked += [each.path for each in requests]
        if not self.is_slow:
            self._read(requests, done)
            return
        answers: list[Any] = []
        self._read(requests, lambda *answer: answers.append(answer))
        self.held.append(lambda: done(*answers[0]))

    def call_later(self, delay_ms: float, call: Any) -> None:
        self.delays_ms.append(delay_ms)
        self.later.append(call)

    def submit(self, operations: Sequence[Any], done: Any) -> None:
        self.asked += operations
        self._submit(operations, done)

    def answer(self) -> None:
        held, self.held = self.held, []
        for each in held:
            each()

    def put(self, name: str, values: dict[str, str]) -> None:
        path = f"/config/topics/{name}"
        if self.store.find(path) is None:
            self.store.create(path, data(values))
        else:
            self.store.set(path, data(values))

    def tell(self, *topics: UpdateMetadataTopic) -> list[ErrorCode]:
        answers: list[ErrorCode] = []
        self.updates.update(UpdateMetadataRequest(5, 1, -1, topics, ()), answers.append)
        return answers

    def read_all(self) -> None:
        run(self.configs.read_all(StoreCalls(self.store, lambda *_: None)), lambda *_: None)

    def settings(self) -> dict[str, str]:
        assert self.cache.topics["t"].config == self.cache.topic_config("t")
        return self.cache.topic_config("t")


@pytest.mark.parametrize("ids", [(UUID(int=7), UUID(int=8)), (NO_ID, NO_ID), (None, None)])
@pytest.mark.parametrize("why", ["notification", "new session", "LeaderAndIsr"])
def test_settings_that_are_read_while_the_topic_is_deleted(ids: tuple[UUID | None, UUID | None], why: str) -> None:
    """The controller removes /config/topics/t at the end of the deletion, and no notification tells of the new ones."""
    member = Member()
    member.put("t", DAY)
    assert member.tell(topic("t", ids[0])) == [ErrorCode.NONE] and member.settings() == DAY
    member.tell(topic("t", ids[0], leader=LEADER_DURING_DELETE))
    if why == "notification":
        member.configs._notified(b'{"version":2,"entity_path":"topics/t"}')
    elif why == "new session":
        member.read_all()
    else:
        member.configs.ensure(["t"], lambda: None)
    member.put("t", KEEP)
    if why == "LeaderAndIsr":  # it comes before UpdateMetadata
        member.configs.ensure(["t"], lambda: member.asked.append("created"))
        assert member.asked[-1] == "created" and member.cache.topic_config("t") == KEEP
    member.tell(topic("t", ids[1]))
    assert member.settings() == KEEP


def test_a_read_that_is_answered_after_the_removal() -> None:
    member = Member()
    member.put("t", DAY)
    member.tell(topic("t", None))
    member.is_slow = True
    member.configs._notified(b'{"version":2,"entity_path":"topics/t"}')
    member.tell(topic("t", None, leader=LEADER_DURING_DELETE))
    member.is_slow = False
    member.answer()
    member.put("t", KEEP)
    member.tell(topic("t", None))
    assert member.settings() == KEEP


def test_a_removal_between_the_look_at_an_update_and_its_taking() -> None:
    """A controller that got no answer in time tells again; the topic has no id by which it could be told apart."""
    member = Member()
    member.put("t", DAY)
    member.tell(topic("t", None))
    member.is_slow = True
    member.tell(topic("t", None, leader=LEADER_DURING_DELETE), topic("u", None))
    member.put("t", KEEP)
    answers = member.tell(topic("t", None), topic("v", None))
    member.answer()
    assert not answers
    member.answer()
    assert answers == [ErrorCode.NONE]
    assert member.settings() == KEEP


@pytest.mark.parametrize("data_of_u", [data(DAY), b"{"])
def test_nothing_is_kept_of_topics_that_are_only_told_of_as_deleted(data_of_u: bytes) -> None:
    """A controller tells a broker that has just registered of all topics that it is deleting."""
    member = Member()
    member.store.create("/config/topics/u", data_of_u)
    member.read_all()  # at the start, when it is not known which topics exist
    member.asked.clear()
    assert member.tell(topic("u", UUID(int=8), leader=LEADER_DURING_DELETE)) == [ErrorCode.NONE]
    assert member.asked == [] and not member.configs.malformed_topics and not member.configs._known_topics
    assert list(member.cache.config_entities("topics")) == []


def test_malformed_settings_of_a_new_topic_are_not_those_of_the_earlier_one() -> None:
    member = Member()
    member.put("t", DAY)
    member.tell(topic("t", None))
    member.tell(topic("t", None, leader=LEADER_DURING_DELETE))
    member.read_all()
    member.store.set("/config/topics/t", b"{")
    member.tell(topic("t", None))
    assert member.configs.malformed_topics == {"t"}


def impossible(broker_epoch: int = -1) -> UpdateMetadataRequest:
    partition = UpdateMetadataPartition(-2, 1, 1, 0, (1,), 0, (1,), ())
    return UpdateMetadataRequest(5, 1, broker_epoch, (UpdateMetadataTopic("x", UUID(int=9), (partition,)),), ())


def fails(error: ErrorCode) -> None:
    """The answer to an update cannot be sent."""
    raise OSError("the connection is gone")


def test_an_answer_that_fails_ends_no_other_update() -> None:
    member = Member()
    member.is_slow = True
    first = member.tell(topic("t", UUID(int=7)))
    member.updates.update(impossible(), fails)
    third = member.tell(topic("u", UUID(int=8)))
    member.is_slow = False
    with pytest.raises(OSError, match="the connection is gone"):
        member.answer()
    assert first == third == [ErrorCode.NONE] and set(member.cache.topics) == {"t", "u"}
    assert member.tell(topic("v", UUID(int=6))) == [ErrorCode.NONE]


def test_an_update_that_waits_until_it_is_stale_is_not_looked_at() -> None:
    member = Member()
    member.is_slow = True
    member.tell(topic("t", UUID(int=7)))
    answers: list[ErrorCode] = []
    member.updates.update(impossible(broker_epoch=3), answers.append)
    member.updates.broker_epoch = 4  # the broker has registered again
    member.is_slow = False
    member.answer()
    assert answers == [ErrorCode.STALE_BROKER_EPOCH]


def test_an_answer_to_a_stale_update_that_fails_loses_no_other() -> None:
    """Neither another stale one, nor the one that came."""
    member, faults, turns = Member(), [], []
    loop: Any = SimpleNamespace(call_later=lambda delay_s, function: turns.append(function))
    member.updates._slices = Slices(loop, faults.append)
    member.is_slow = True
    member.tell(topic("t", UUID(int=7)))
    answers: list[ErrorCode] = []
    member.updates.update(impossible(broker_epoch=2), fails)
    member.updates.update(impossible(broker_epoch=3), answers.append)
    member.updates.broker_epoch = 4  # the broker has registered again
    last = member.tell(topic("u", UUID(int=8)))
    member.is_slow = False
    member.answer()
    for turn in turns:  # grows
        turn()
    assert answers == [ErrorCode.STALE_BROKER_EPOCH] and last == [ErrorCode.NONE]
    assert [str(fault) for fault in faults] == ["the connection is gone"]


def test_an_answer_that_fails_leaves_no_topic_without_its_settings() -> None:
    """The update tells of the deletion, too."""
    member = Member()
    member.put("t", DAY)
    member.tell(topic("t", UUID(int=7)))
    member.put("t", KEEP)
    told = (topic("t", UUID(int=7), leader=LEADER_DURING_DELETE), topic("t", UUID(int=8)))
    with pytest.raises(OSError, match="the connection is gone"):
        member.updates.update(UpdateMetadataRequest(5, 1, -1, told, ()), fails)
    assert member.settings() == KEEP


def test_the_server_that_is_asked_may_be_behind() -> None:
    """The controller may have asked another one. Nothing would tell of the settings later."""
    member = Member()
    member.put("t", KEEP)
    member.asked.clear()
    member.tell(topic("t", UUID(int=7)))
    assert [type(each) for each in member.asked] == [Check, str]
    member.configs.ensure(["u"], lambda: None)
    assert member.asked[2:] == ["/config/topics/u"], "LeaderAndIsr asks for one topic after the other, and UpdateMetadata follows"


def test_known_topics_are_not_read_again() -> None:
    member = Member()
    told = [topic(f"t{number}", UUID(int=number + 1)) for number in range(300)]
    for each in told:
        member.put(each.topic, DAY)
    member.tell(*told)
    member.asked.clear()
    member.tell(*told)
    member.configs.ensure([each.topic for each in told], lambda: None)
    assert member.asked == []


def test_a_start_reads_settings_once_more_only_where_there_are_logs() -> None:
    """All are read when the controller tells of them, so that 20,000 topics are not read three times."""
    member = Member()
    for name in ("t", "u", "v"):
        member.put(name, DAY)
    member.read_all()
    member.cache.logs = SimpleNamespace(partitions={("u", 0): None}, has_topic={"u"}.__contains__)  # type: ignore[assignment]
    member.tell(topic("v", None))
    member.asked.clear()
    member.put("u", KEEP)
    member.read_all()
    assert [path for path in member.asked if str(path).startswith("/config/topics/")] == ["/config/topics/u", "/config/topics/v"]
    assert member.cache.topic_config("u") == KEEP

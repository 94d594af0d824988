"""What a member makes of UpdateMetadata: topics that come piece by piece and go, brokers, controllers of before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.cluster.member_cache import PARTITION_INDEX_MAX, MemberCache
from kafka_cy.cluster.metadata_cache import LiveBroker, TopicsChanged
from kafka_cy.protocol.controller_messages.update_metadata import (
    LEADER_DURING_DELETE,
    UpdateMetadataBroker,
    UpdateMetadataEndpoint,
    UpdateMetadataPartition,
    UpdateMetadataRequest,
    UpdateMetadataTopic,
)
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server import metadata_updates
from kafka_cy.server.metadata_updates import PARTITIONS_AT_ONCE, MetadataUpdates
from kafka_cy.server.published_topics import PublishedTopics

ID, OTHER_ID = UUID(int=7), UUID(int=8)


def partition(index: int, leader: int = 1, epoch: int = 0, offline: tuple[int, ...] = ()) -> UpdateMetadataPartition:
    return UpdateMetadataPartition(index, 1, leader, epoch, (1, 2), 3, (1, 2), offline)


def topic(*partitions: UpdateMetadataPartition, topic_id: UUID | None = ID) -> UpdateMetadataTopic:
    return UpdateMetadataTopic("t", topic_id, partitions)


def broker(broker_id: int, *listeners: str) -> UpdateMetadataBroker:
    endpoints = [UpdateMetadataEndpoint(9000 + broker_id, f"h{broker_id}", name, 0) for name in listeners]
    return UpdateMetadataBroker(broker_id, tuple(endpoints), f"r{broker_id}")


def new_cache() -> MemberCache:
    cache = MemberCache(1, ["CLIENT", "REPL"])
    cache.logs = SimpleNamespace(partitions={})
    return cache


def test_partitions_come_one_by_one() -> None:
    cache = new_cache()
    cache.put_config("topics", "t", {"retention.ms": "5"})
    change = cache.take(topic(partition(2, offline=(2,))))
    (known,) = change.changed
    assert [bool(each.replicas) for each in known.partitions] == [False, False, True]
    assert cache.offline_replicas("t", known.partitions[2]) == [2]
    assert cache.topics["t"].config == {"retention.ms": "5"} and cache.topic_by_id[ID] is known
    cache.take(topic(partition(0), partition(1, leader=-1, epoch=4)))
    found = cache.topics["t"].partitions
    assert [(each.index, each.leader, each.leader_epoch) for each in found] == [(0, 1, 0), (1, -1, 4), (2, 1, 0)]
    assert found[2].partition_epoch == 3


def test_a_topic_goes() -> None:
    cache = new_cache()
    cache.take(topic(partition(0), partition(1)))
    change = cache.take(topic(partition(1, leader=LEADER_DURING_DELETE)))
    assert [len(each.partitions) for each in change.changed] == [1] and change.removed == ()
    change = cache.take(topic(partition(0, leader=LEADER_DURING_DELETE)))
    assert change.changed == () and [each.name for each in change.removed] == ["t"]
    assert "t" not in cache.topics and ID not in cache.topic_by_id
    assert cache.take(topic(partition(0, leader=LEADER_DURING_DELETE))) == TopicsChanged((), ())


def test_a_new_topic_of_the_name_takes_nothing_over() -> None:
    cache = new_cache()
    cache.take(topic(partition(0), partition(1)))
    change = cache.take(topic(partition(0, epoch=9), topic_id=OTHER_ID))
    assert [each.id for each in change.removed] == [ID] and [each.id for each in change.changed] == [OTHER_ID]
    assert len(cache.topics["t"].partitions) == 1 and list(cache.topic_by_id) == [OTHER_ID]


def test_a_topic_without_id_keeps_the_one_that_is_known() -> None:
    cache = new_cache()
    cache.take(topic(partition(0)))
    cache.take(topic(partition(0, epoch=1), topic_id=None))
    assert cache.topics["t"].id == ID


def test_an_impossible_partition_changes_nothing() -> None:
    cache = new_cache()
    with pytest.raises(ValueError, match="partition"):
        cache.take(topic(partition(0), partition(PARTITION_INDEX_MAX + 1)))
    assert cache.topics == {}


def test_brokers_are_those_that_live() -> None:
    cache = new_cache()
    cache.put_brokers(2, [broker(2, "REPL"), broker(1, "REPL", "CLIENT")])
    assert cache.brokers == (
        LiveBroker(1, "r1", (("h1", 9001), ("h1", 9001))),
        LiveBroker(2, "r2", (None, ("h2", 9002))),
    )
    assert (cache.controller_id, cache.broker_ids) == (2, (1, 2))
    cache.put_brokers(1, [broker(1, "REPL")])
    assert cache.broker_ids == (1,) and cache.endpoint(2, "REPL") is None


def test_what_is_untold_between_costs_little() -> None:
    """Topics share what stands for partitions of which nothing was told."""
    cache = new_cache()
    for number in range(3):
        cache.take(UpdateMetadataTopic(f"t{number}", UUID(int=number + 1), (partition(1000),)))
    first, second, _ = (cache.topics[f"t{number}"].partitions for number in range(3))
    assert all(a is b for a, b in zip(first[:1000], second[:1000], strict=True))
    assert [each.index for each in first] == list(range(1001)) and cache.untold_count == 3000
    cache.take(UpdateMetadataTopic("t0", UUID(int=1), (partition(10), partition(10), partition(999))))
    assert cache.untold_count == 2998
    gone = tuple(partition(index, LEADER_DURING_DELETE) for index in (1000, 999))
    cache.take(UpdateMetadataTopic("t0", UUID(int=1), gone))
    assert len(cache.topics["t0"].partitions) == 11 and cache.untold_count == 2010
    cache.take(UpdateMetadataTopic("t0", UUID(int=9), (partition(1),)))
    assert cache.untold_count == 2001
    cache.take(UpdateMetadataTopic("t1", UUID(int=2), (partition(1000, LEADER_DURING_DELETE),)))
    assert "t1" not in cache.topics and cache.untold_count == 1001


class Updates:
    """MetadataUpdates with everything around it."""

    def __init__(self) -> None:
        self.cache = new_cache()
        self.heard: list[TopicsChanged] = []
        self.cache.add_listener(self.heard.append)  # type: ignore[arg-type]
        self.published: list[list[str]] = []
        self.held: list[Callable[[], object]] = []  # that wait for settings of topics
        self.is_slow = False
        published: Any = SimpleNamespace(put=lambda topic: None, publish=lambda removed: self.published.append(removed))
        configs: Any = SimpleNamespace(
            ensure=self.ensure, forget=lambda name: None, knows=self.cache.topics.__contains__, malformed_topics=set()
        )
        slices: Any = SimpleNamespace(add=lambda steps, done=lambda: None: [*steps, done()])
        log: Any = SimpleNamespace(info=lambda *_, **__: None, warning=lambda *_, **__: None)
        self.updates = MetadataUpdates(self.cache, configs, published, slices, log, lambda epoch: None)

    def ensure(self, names: Iterable[str], done: Callable[[], object], *, newest: bool) -> None:
        if self.is_slow and list(names):
            self.held.append(done)
        else:
            done()

    def send(self, controller_epoch: int, *topics: UpdateMetadataTopic, broker_epoch: int = -1) -> list[ErrorCode]:
        answers: list[ErrorCode] = []
        request = UpdateMetadataRequest(5, controller_epoch, broker_epoch, topics, (broker(1, "REPL"),))
        self.updates.update(request, answers.append)
        return answers


def test_an_update_is_published_and_announced_once() -> None:
    updates = Updates()
    assert updates.send(3, topic(partition(0))) == [ErrorCode.NONE]
    assert [each.name for change in updates.heard for each in change.changed] == ["t"]
    assert updates.send(3, topic(partition(0, leader=LEADER_DURING_DELETE))) == [ErrorCode.NONE]
    assert updates.published == [[], ["t"]] and [each.name for each in updates.heard[-1].removed] == ["t"]
    assert updates.send(3) == [ErrorCode.NONE] and len(updates.heard) == 2
    assert (updates.cache.controller_id, updates.updates.controller_epoch) == (5, 3)


def test_an_earlier_controller_and_registration_are_refused() -> None:
    updates = Updates()
    updates.updates.broker_epoch = 40
    assert updates.send(3, broker_epoch=40) == [ErrorCode.NONE]
    assert updates.send(2, topic(partition(0))) == [ErrorCode.STALE_CONTROLLER_EPOCH]
    assert updates.send(3, topic(partition(0)), broker_epoch=39) == [ErrorCode.STALE_BROKER_EPOCH]
    assert updates.send(3, topic(partition(-1))) == [ErrorCode.INVALID_REQUEST]
    assert updates.cache.topics == {} and updates.heard == []


def test_a_later_controller_overtakes_an_update_that_waits() -> None:
    updates = Updates()
    updates.is_slow = True
    first = updates.send(3, topic(partition(0)))
    second = updates.send(4, topic(partition(0, epoch=9)))
    updates.held.pop()()
    updates.held.pop()()
    assert (first, second) == ([ErrorCode.STALE_CONTROLLER_EPOCH], [ErrorCode.NONE])
    assert updates.cache.topics["t"].partitions[0].leader_epoch == 9


@pytest.mark.parametrize("is_told", [False, True])
def test_an_update_for_an_earlier_registration_changes_nothing_later(is_told: bool) -> None:
    """It has waited for settings. The later one has the same controller epoch."""
    updates = Updates()
    updates.updates.broker_epoch = 40
    updates.is_slow = True
    first = updates.send(3, topic(partition(0)), broker_epoch=40)
    updates.updates.broker_epoch = 41
    updates.is_slow = not is_told
    second = updates.send(3, topic(partition(0, epoch=9)), broker_epoch=41)
    while updates.held:
        updates.held.pop()()
    assert (first, second) == ([ErrorCode.STALE_BROKER_EPOCH], [ErrorCode.NONE])
    assert updates.cache.topics["t"].partitions[0].leader_epoch == 9


def test_updates_are_taken_as_they_come() -> None:
    """Whatever they wait for; the second one waits for nothing itself."""
    updates = Updates()
    updates.is_slow = True
    first = updates.send(3, topic(partition(0)))
    updates.is_slow = False
    second = updates.send(3, topic(partition(0, epoch=9)))
    assert (first, second) == ([], [])
    updates.held.pop()()
    assert (first, second) == ([ErrorCode.NONE], [ErrorCode.NONE])
    assert updates.cache.topics["t"].partitions[0].leader_epoch == 9


def test_what_a_controller_repeats_is_taken_once() -> None:
    """It gets no answer in time as long as the settings of a topic cannot be read."""
    updates = Updates()
    updates.is_slow = True
    answers = [updates.send(3, topic(partition(0))) for _ in range(50)]
    other = updates.send(3, topic(partition(1)))
    assert len(updates.held) == 1 and len(updates.updates._waiting) == 2
    updates.held.pop()()
    assert answers == [[ErrorCode.REQUEST_TIMED_OUT]] * 49 + [[ErrorCode.NONE]]
    assert other == [ErrorCode.NONE] and len(updates.cache.topics["t"].partitions) == 2 and not updates.updates._waiting


def test_updates_of_earlier_controllers_do_not_pile_up() -> None:
    updates = Updates()
    updates.is_slow = True
    answers = [updates.send(epoch, topic(partition(0, epoch=epoch))) for epoch in range(50)]
    assert answers == [[]] + [[ErrorCode.STALE_CONTROLLER_EPOCH]] * 48 + [[]] and len(updates.held) == 1
    more = [updates.send(49, topic(partition(0, epoch=epoch))) for epoch in range(50, 90)]
    assert more.count([ErrorCode.UNKNOWN_SERVER_ERROR]) == 40 - (metadata_updates.WAITING_MAX - 2)


def test_an_update_that_leaves_too_much_untold_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_updates, "UNTOLD_MAX", 100)
    updates = Updates()
    assert updates.send(3, topic(partition(60))) == [ErrorCode.NONE]
    other = UpdateMetadataTopic("u", OTHER_ID, (partition(0), partition(42)))
    assert updates.send(3, topic(partition(1)), other) == [ErrorCode.INVALID_REQUEST]
    assert list(updates.cache.topics) == ["t"] and updates.cache.untold_count == 60 and len(updates.heard) == 1
    other = UpdateMetadataTopic("u", OTHER_ID, (partition(0), partition(41)))
    assert updates.send(3, topic(partition(1)), other) == [ErrorCode.NONE]
    assert updates.cache.untold_count == 99


def test_topics_whose_deletion_was_missed_are_removed() -> None:
    updates = Updates()
    updates.send(3, topic(partition(0)))
    known = updates.cache.topics["t"]
    updates.send(3, topic(partition(0, epoch=9)))
    assert updates.updates.remove([known]) and list(updates.cache.topics) == ["t"]  # the controller has told of it since
    known = updates.cache.topics["t"]
    updates.is_slow = True
    updates.send(3, UpdateMetadataTopic("u", OTHER_ID, (partition(0),)))
    assert not updates.updates.remove([known]) and list(updates.cache.topics) == ["t"]
    updates.held.pop()()
    assert updates.updates.remove([known]) and list(updates.cache.topics) == ["u"]
    assert updates.published[-1] == ["t"] and updates.heard[-1] == TopicsChanged((), (known,))


def test_an_update_is_looked_at_in_slices() -> None:
    updates, counts = Updates(), []
    updates.updates._slices = SimpleNamespace(add=lambda task: counts.append(sum(1 for _ in task)))  # type: ignore[assignment]
    told = topic(*(partition(index) for index in range(5000)), partition(PARTITION_INDEX_MAX))
    assert updates.send(3, told) == [ErrorCode.NONE]
    assert max(counts) > (5000 + PARTITION_INDEX_MAX) / PARTITIONS_AT_ONCE


def test_a_broker_that_was_told_of_nobody_tells_of_itself() -> None:
    """librdkafka would have nobody to ask after a response without brokers."""
    cache = MemberCache(1, ["CLIENT"])
    shown: list[Any] = []
    publisher: Any = SimpleNamespace(
        set_topics=lambda put, removed: None, set_brokers=lambda *told: shown.append(told[-1]), publish=lambda: None
    )
    own = LiveBroker(1, None, (("here", 9092),))
    published = PublishedTopics(cache, SimpleNamespace(partitions={}), publisher, own)  # type: ignore[arg-type]
    published.publish()
    cache.put_brokers(2, [UpdateMetadataBroker(2, (UpdateMetadataEndpoint(9093, "there", "CLIENT", 0),))])
    published.publish()
    assert shown == [(own,), (LiveBroker(2, None, (("there", 9093),)),)]

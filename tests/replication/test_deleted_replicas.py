"""Which deletions a broker remembers."""

from __future__ import annotations

import pytest

from kafka_cy.replication import deleted_replicas
from kafka_cy.replication.deleted_replicas import DeletedReplicas, Deletion
from kafka_cy.storage.log_dir import NO_TOPIC_ID

ID, OTHER = b"i" * 16, b"o" * 16


def test_the_largest_leader_epoch_counts() -> None:
    deleted = DeletedReplicas()
    for leader_epoch, known_epoch, largest in ((-1, -1, -1), (-1, 4, 4), (7, 4, 7), (5, 5, 7), (-2, 3, 1 << 31), (-1, 3, 1 << 31)):
        deleted.add(0, Deletion(ID, leader_epoch, known_epoch))
        assert [deleted.has(ID, 0, each) for each in (largest, largest + 1)] == [True, False]
    assert not deleted.has(ID, 1, 0) and not deleted.has(OTHER, 0, 0)


def test_without_an_id_nothing_is_remembered() -> None:
    deleted = DeletedReplicas()
    deleted.add(0, Deletion(NO_TOPIC_ID, -2, 3))
    assert (len(deleted), deleted.has(NO_TOPIC_ID, 0, 0)) == (0, False)


def test_a_later_controller_knows_better() -> None:
    deleted = DeletedReplicas()
    deleted.begin(5)
    deleted.add(0, Deletion(ID, -2, 3))
    deleted.begin(5)
    assert deleted.has(ID, 0, 3)
    deleted.begin(6)
    assert (len(deleted), deleted.has(ID, 0, 3)) == (0, False)


def test_the_last_ones_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleted_replicas, "DELETED_MAX", 2)
    deleted = DeletedReplicas()
    for partition in (0, 1, 0, 2):
        deleted.add(partition, Deletion(ID, -2, 3))
    assert [deleted.has(ID, each, 3) for each in range(3)] == [True, False, True]

"""Partitions whose offsets cannot be read now, because they have no leader: the tools tell of them."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.group_offsets import log_offsets
from kafka_cy.tools.groups_reset import new_offsets

NO_LEADER, DELETED = KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART


class Admin:
    """Knows offset 7 of each partition, except for those with an error."""

    def __init__(self, **errors: int) -> None:
        self.errors = errors

    def list_offsets(self, wanted: dict[Any, Any]) -> dict[Any, Future[Any]]:
        """See AdminClient."""
        found = {}
        for place in wanted:
            found[place] = future = Future[Any]()
            if place.topic in self.errors:
                future.set_exception(KafkaException(KafkaError(self.errors[place.topic])))
            else:
                future.set_result(SimpleNamespace(offset=7))
        return found


def test_what_has_no_leader_is_told_and_what_was_deleted_is_not() -> None:
    admin: Any = Admin(a=NO_LEADER, b=DELETED)
    heard: list[str] = []
    assert log_offsets(admin, [("a", 0), ("b", 0), ("c", 0)], None, heard.append) == {("c", 0): 7}
    (sentence,) = heard
    assert sentence.startswith("The offset of a-0 is not known: ") and sentence.endswith(".")


@pytest.mark.parametrize("target", [{"to_earliest": True}, {"to_offset": 1}, {"shift_by": 1}, {"since_ms": 5}])
def test_a_reset_changes_nothing_then(target: dict[str, Any]) -> None:
    admin: Any = Admin(a=NO_LEADER)
    with pytest.raises(ToolError, match=r"^Nothing is reset\. The offset of a-0 is not known: "):
        new_offsets(admin, [("a", 0), ("c", 0)], {}, target)
    without: Any = Admin(a=DELETED)
    assert list(new_offsets(without, [("a", 0), ("c", 0)], {}, target)) == [("c", 0)]

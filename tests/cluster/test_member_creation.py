"""CreateTopics of a member whose controller refuses a topic at once."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.create_topics import Planned
from kafka_cy.api.member_topics import _Creation
from kafka_cy.api.pending_topics import PendingTopics
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.protocol.errors import ErrorCode


class AllAtOnce:
    """Slices that do each task at once."""

    def add(self, steps: Any) -> None:
        for _ in steps:
            pass


@pytest.mark.parametrize("gives_ids", [True, False])
def test_a_topic_that_is_refused_at_once_is_answered(gives_ids: bool) -> None:
    """As the controller does when the topic of this name is still being deleted."""

    def create_topic(name: str, assignment: Any, configs: Any, done: Any, topic_id: Any) -> None:
        refused = Outcome(ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 'a' is marked for deletion.")
        done(refused if name == "a" else Outcome(ErrorCode.NONE))

    def wait(names: Any, timeout_ms: float, done: Any) -> None:
        done([])

    controller = SimpleNamespace(create_topic=create_topic, gives_topic_ids=gives_ids)
    place = SimpleNamespace(answered=lambda: None, end=lambda: None, is_over=False, left_ms=1000.0)
    requests = SimpleNamespace(begin=lambda size, timeout_ms, over: place)
    member = SimpleNamespace(controller=controller, waits=SimpleNamespace(wait=wait), requests=requests)
    body = SimpleNamespace(topics=[], timeout=timedelta(seconds=1), validate_only=False)
    log = SimpleNamespace(info=lambda *_, **details: None, warning=lambda *_, **details: None)
    config, cluster = BrokerConfig.load(None, {}), SimpleNamespace(topics={}, collides_with=lambda name: None)
    context: Any = SimpleNamespace(log=log, config=config, cluster=cluster, member=member, quotas=None, slices=AllAtOnce())
    request: Any = SimpleNamespace(body=body, authorizer=None, api_version=4, sender={"client": "c"})
    creation = _Creation.__new__(_Creation)
    creation._quota = SimpleNamespace(take=lambda count: None)
    creation._context, creation._request, creation._times = context, request, Counter()
    creation._results, creation._created, creation._member = [], [], member
    creation._excess = None
    creation._planned = [Planned("a", [[1]], {}), Planned("b", [[1]], {})]
    creation.pending = PendingTopics(context, body.timeout)
    for _ in creation._create_all():
        pass
    answers: list[Any] = []
    ended: Any = SimpleNamespace(guarded=lambda done: done, end_turn=lambda: None, body_size=100)
    creation.pending.finish(ended, 2, lambda refused: answers.append(creation.response_of(refused)), creation.write_lines)
    answered = answers[0]["topics"]
    assert [(each["name"], int(each["error_code"])) for each in answered] == [("a", 36), ("b", 0)]
    assert (answered[1]["topic_id"].int == 0) is not gives_ids, "inter.broker.protocol.version below 2.8 has none"
    assert [topic.name for topic in creation._created] == ["b"]

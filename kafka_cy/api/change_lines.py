"""Lines of the broker's log about what a request changed: topics, partitions, configurations; and who asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kafka_cy.cluster.topics import Topic
    from kafka_cy.server.log import BrokerLog

LINES_MAX: Final = 20  # of one request; the rest is counted in one line
HIDDEN: Final = "[hidden]"
ID_CHARS_MAX: Final = 200  # of an id that a client chose


def log_each(log: BrokerLog, what: str, changes: Sequence[Mapping[str, Any]], sender: Mapping[str, Any]) -> None:
    """Write a line for each change, and one that counts the changes beyond LINES_MAX."""
    for change in changes[:LINES_MAX]:
        log.info(what, **change, **sender)
    if len(changes) > LINES_MAX:
        log.info(f"{what}: more in the same request", count=len(changes) - LINES_MAX, **sender)


def created_topic(topic: Topic) -> dict[str, Any]:
    """Details of a new topic."""
    details: dict[str, Any] = {"topic": topic.name, "id": topic.id, "partitions": len(topic.partitions)}
    details["replication"] = len(topic.partitions[0].replicas)
    return details | ({"configs": settings_text(topic.config)} if topic.config else {})


def changed_settings_of(
    kind: str, name: str, before: Mapping[str, str], after: Mapping[str, str], hidden: set[str]
) -> dict[str, str]:
    """Details of a changed configuration: what was set and what was removed. Values of the keys in `hidden` are not shown."""
    values = {key: HIDDEN if key in hidden else text for key, text in after.items() if before.get(key) != text}
    removed = [key for key in before if key not in after]
    details = {"resource": f"{kind} {name}"}
    if values:
        details["set"] = settings_text(values)
    if removed:
        details["removed"] = ", ".join(removed)
    return details


def settings_text(settings: Mapping[str, str]) -> str:
    """Settings on one line."""
    return ", ".join(f"{key}={text}" for key, text in settings.items())

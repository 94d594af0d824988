"""Regular expressions that members subscribe to: RE2, whole names, all topics of the cluster.

They are resolved in slices on the coordinator's thread. RE2 needs linear time and bounded memory whatever the expression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from functools import partial
from typing import Final

from kafka_cy.base.regular_expression import InvalidRegularExpression, compile_regular_expression
from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.consumer.context import ConsumerContext
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.limits import regex_bytes
from kafka_cy.coordinator.consumer.member import ConsumerMember
from kafka_cy.coordinator.consumer.records import Group, GroupKey, Regex, RegexKey
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.records import Record
from kafka_cy.protocol.errors import ErrorCode

REFRESH_INTERVAL_MIN_MS: Final = 10_000  # regular expressions of a group are not resolved again before, as in Kafka


def check_regex(regex: str) -> None:
    """Raises GroupError (INVALID_REGULAR_EXPRESSION)."""
    try:
        compile_regular_expression(regex)
    except InvalidRegularExpression as error:
        raise GroupError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            f"SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}.",
        ) from error


def to_resolve(
    context: ConsumerContext, group: ConsumerGroup, old: ConsumerMember, new: ConsumerMember
) -> list[str] | None:
    """The regular expressions to resolve after `new` has replaced `old`; None if they need not be, or not yet."""
    subscriptions = group.subscriptions
    if not subscriptions.regexes and not new.regex:
        return None
    if group.resolving:
        return None
    now_ms = context.loop.wall_clock_ms()
    last_ms = _resolved_ms(group)
    if last_ms is not None and last_ms <= now_ms <= last_ms + REFRESH_INTERVAL_MIN_MS:
        return None
    used = subscriptions.regexes.copy()
    for regex, change in ((old.regex, -1), (new.regex, 1)):
        used[regex] += change if regex else 0
    regexes = [regex for regex, count in used.items() if regex and count > 0]
    is_due = (
        (bool(new.regex) and new.regex not in subscriptions.regexes)
        or len(regexes) != len(subscriptions.resolved)
        or group.regex_topics_version < context.topics.created
        or last_ms is None
        or not last_ms <= now_ms <= last_ms + context.settings.regex_refresh_interval_ms
    )
    return regexes if is_due and regexes else None


def resolved_for_s(context: ConsumerContext, group: ConsumerGroup) -> float:
    """For how long the regular expressions of the group count as resolved: infinite if it has none; 0 if they have to be
    resolved, or just are."""
    subscriptions = group.subscriptions
    if not subscriptions.regexes:
        return math.inf
    last_ms = _resolved_ms(group)
    if group.resolving or last_ms is None or len(subscriptions.regexes) != len(subscriptions.resolved):
        return 0.0
    if group.regex_topics_version < context.topics.created:
        return 0.0
    now_ms: int = context.loop.wall_clock_ms()
    due_ms: int = min(last_ms, now_ms) + context.settings.regex_refresh_interval_ms  # the clock may have been ahead
    return max(0.0, (due_ms - now_ms) / 1000)


def _resolved_ms(group: ConsumerGroup) -> int | None:
    """When the regular expressions were resolved last; None if none was."""
    return next((found.timestamp_ms for found in group.subscriptions.resolved.values()), None)


class RegexResolution:
    """One resolution of a group's regular expressions. `steps` is a task for Slices.

    What an expression matches counts as memory of the group from then on. It is dropped at once if there is no room for it.
    """

    def __init__(
        self, context: ConsumerContext, group: ConsumerGroup, regexes: Collection[str],
        sees: Callable[[str], bool] | None = None,
    ) -> None:  # fmt: skip
        """`sees`: whether the member that has them resolved may describe a topic; others are no matches, as in Kafka."""
        self.context = context
        self.group = group
        self.topics_version = context.topics.created
        self.is_complete = False
        self._timestamp_ms = context.loop.wall_clock_ms()
        self._sees = sees
        self._regexes = regexes
        self._found: dict[str, tuple[str, ...] | None] = {}  # None: there is no room for them

    def steps(self) -> Iterator[object]:
        """Compare every topic with every expression."""
        topics = self.context.topics.names()
        names = yield from in_work(lambda: sorted(topics))
        for regex in self._regexes:
            found = yield from self._matches(regex, names)
            before = self.group.subscriptions.resolved.get(regex)
            added = yield from in_work(partial(_growth, regex, before, found))
            if not self.group.resolving:
                return  # it has ended
            has_room = self.context.has_room(self.group, added)
            self._found[regex] = found if has_room else None
            if has_room:
                self.group.resolving_bytes += max(added, 0)
                self.context.count(self.group)
        self.is_complete = True

    def _matches(self, regex: str, names: Sequence[str]) -> Generator[object, None, tuple[str, ...]]:
        try:
            pattern = compile_regular_expression(regex)
        except InvalidRegularExpression:  # it was checked when a member sent it: this is another version of RE2
            return ()
        found: list[str] = []
        for name in names:  # one in each step: the worst expressions take milliseconds for it
            if pattern.matches(name) and (self._sees is None or self._sees(name)):
                found.append(name)
            yield None
        return tuple(found)

    def records(self) -> Generator[object, None, list[Record]]:
        """The records that store what was found, and a new group epoch if that changes what the group reads. A task for slices.

        An expression keeps the topics that it had if there is no room for those that it matches now; a later resolution tries.
        """
        group, growth = self.group, 0
        subscriptions = group.subscriptions
        records: list[Record] = []
        changed: dict[str, Regex | None] = {}
        for regex, topics in self._found.items():
            if not subscriptions.regexes[regex]:
                continue
            before = subscriptions.resolved.get(regex)
            known = before.topics if before is not None else ()
            found = Regex(known if topics is None else topics, self.topics_version, self._timestamp_ms)
            if found.topics != known and (yield from in_work(partial(_differ, found.topics, known))):
                added = yield from in_work(partial(_growth, regex, before, found.topics))
                if self.context.has_room(group, growth + added):
                    growth += added
                    changed[regex] = found
                else:
                    found = found._replace(topics=known)
            records.append((RegexKey(group.group_id, regex), found))
            yield None
        names = yield from subscriptions.names_after_steps({}, changed)
        metadata_hash = yield from self.context.topics.group_hash_steps(names)
        if changed or metadata_hash != group.metadata_hash:
            records.append((GroupKey(group.group_id), Group(group.epoch + 1, metadata_hash)))
        return records


def _growth(regex: str, before: Regex | None, topics: Sequence[str]) -> int:
    return regex_bytes(regex, topics) - (regex_bytes(regex, before.topics) if before is not None else 0)


def _differ(some: Collection[str], others: Collection[str]) -> bool:
    """Whether the topics are not the same, in whatever order they were stored."""
    return set(some) != set(others)

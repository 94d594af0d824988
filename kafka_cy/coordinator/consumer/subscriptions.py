"""What the members of a consumer group read: topics by name, and by regular expression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from functools import partial

from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.consumer.member import ConsumerMember
from kafka_cy.coordinator.consumer.records import Regex
from kafka_cy.coordinator.modern.names import ChangedNames, EitherNames, count_names, in_pieces


class Subscriptions:
    """Counts who reads what. Part of a group's replicated state: only its replay calls the methods under "changes"."""

    __slots__ = ("by_name", "by_regex", "regexes", "resolved")

    def __init__(self) -> None:
        self.by_name: Counter[str] = Counter()  # topic -> members that name it
        self.by_regex: Counter[str] = Counter()  # topic -> resolved regular expressions that match it
        self.regexes: Counter[str] = Counter()  # regular expression -> members that use it
        self.resolved: dict[str, Regex] = {}

    # -- changes --

    def replace_steps(self, old: ConsumerMember | None, new: ConsumerMember | None) -> Iterator[None]:
        """A member came, changed or went. A task for slices; what it reads before and after is counted all the time."""
        names = old.details.subscribed_topic_names if old is not None else ()
        new_names = new.details.subscribed_topic_names if new is not None else ()
        if names != new_names:
            count = partial(count_names, self.by_name)
            yield from in_pieces(((count, new_names, 1), (count, names, -1)))
        regex = old.regex if old is not None else ""
        new_regex = new.regex if new is not None else ""
        if regex != new_regex:
            count_names(self.regexes, (regex,) if regex else (), -1)
            count_names(self.regexes, (new_regex,) if new_regex else (), 1)

    def resolve_steps(self, regex: str, found: Regex | None) -> Iterator[None]:
        """The topics that a regular expression matches are known, or no longer matter. A task for slices."""
        old = self.resolved.pop(regex, None)
        if found is not None:
            self.resolved[regex] = found
        before, now = old.topics if old is not None else (), found.topics if found is not None else ()
        if before != now:
            count = partial(count_names, self.by_regex)
            yield from in_pieces(((count, before, -1), (count, now, 1)))

    # -- questions --

    def names(self) -> Collection[str]:
        """All topics that a member reads."""
        return EitherNames(self.by_name, self.by_regex)

    def contains(self, topic: str) -> bool:
        """Whether a member reads the topic."""
        return topic in self.by_name or topic in self.by_regex

    def names_after(
        self, replaced: Mapping[str, tuple[ConsumerMember | None, ConsumerMember | None]],
        resolved: Mapping[str, Regex | None],
    ) -> Collection[str]:  # fmt: skip
        """names() after members are replaced (id -> old, new) and regular expressions have other topics."""
        return at_once(self.names_after_steps(replaced, resolved))

    def names_after_steps(
        self, replaced: Mapping[str, tuple[ConsumerMember | None, ConsumerMember | None]],
        resolved: Mapping[str, Regex | None],
    ) -> Generator[object, None, Collection[str]]:  # fmt: skip
        """names_after() as a task for slices."""
        by_name, by_regex = ChangedNames(self.by_name), ChangedNames(self.by_regex)
        yield from in_pieces(
            (by_name.change, member.details.subscribed_topic_names, change)
            for members in replaced.values()
            for member, change in zip(members, (-1, 1), strict=True)
            if member is not None
        )
        yield from in_pieces(
            (by_regex.change, each.topics, change)
            for regex, found in resolved.items()
            for each, change in ((self.resolved.get(regex), -1), (found, 1))
            if each is not None
        )
        return EitherNames(by_name, by_regex)

    def unused_regexes(self, leaving: Iterable[ConsumerMember]) -> list[str]:
        """The regular expressions that nobody uses when these members are gone."""
        counts = Counter(member.regex for member in leaving if member.regex)
        return [regex for regex, count in counts.items() if self.regexes[regex] <= count]

    def topics_of(self, member: ConsumerMember) -> set[str]:
        """The topics that a member reads, as far as they are known."""
        names = set(member.details.subscribed_topic_names)
        found = self.resolved.get(member.regex)
        return names if found is None else names.union(found.topics)

"""The topics that a group will name after a change, compared with sets; and that nothing walks all names."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.coordinator.modern.names import ChangedNames, EitherNames, count_names
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.member import ShareMember
from kafka_cy.coordinator.share.records import Member, MemberKey

NAMES = st.lists(st.sampled_from("abcdef"), unique=True)


@given(before=st.lists(NAMES), added=NAMES, gone=st.integers(0, 5), other=NAMES)
def test_names_after_a_change(before: list[list[str]], added: list[str], gone: int, other: list[str]) -> None:
    counts: Counter[str] = Counter()
    for names in before:
        count_names(counts, names, 1)
    removed = before.pop(gone) if gone < len(before) else []
    after = ChangedNames(counts)
    after.change(removed, -1)
    after.change(added, 1)
    expected = {name for names in [*before, added] for name in names}
    assert sorted(after) == sorted(expected) and len(after) == len(expected)
    assert {name for name in "abcdef" if name in after} == expected
    both = EitherNames(after, other)
    assert sorted(both) == sorted(expected | {*other}) and len(both) >= len(expected | {*other})
    assert {name for name in "abcdef" if name in both} == expected | {*other}
    count_names(counts, removed, -1)
    count_names(counts, added, 1)
    assert counts.keys() == expected and min(counts.values(), default=1) > 0


@given(names=NAMES, exist=NAMES)
def test_existing_topics_whichever_are_fewer(names: list[str], exist: list[str]) -> None:
    found = {name: SimpleNamespace(name=name) for name in exist}
    topics = Topics(SimpleNamespace(topics=found), None)
    for collection in (names, tuple(names), set(names), Counter(names)):
        assert {topic.name for topic in topics.existing(collection)} == {*names} & {*exist}


def test_a_change_of_a_member_does_not_walk_what_others_name() -> None:
    class Walked(Counter[str]):
        def __iter__(self) -> object:  # type: ignore[override]
            raise AssertionError

        copy = keys = items = values = __iter__  # type: ignore[assignment]

    group = ShareGroup("g")
    group.replay(MemberKey("g", "m1"), Member(None, "", "", ("a", "b")))
    group.by_name = Walked({"a": 1, "b": 1})
    old = group.members["m1"]
    new = ShareMember("m1", Member(None, "", "", ("b", "c")))
    topics = Topics(SimpleNamespace(topics={"c": SimpleNamespace(name="c")}), None)
    assert [topic.name for topic in topics.existing(group.names_after(old, new))] == ["c"]
    group.replay(MemberKey("g", "m1"), new.details)
    assert group.by_name["c"] == 1 and "a" not in group.by_name

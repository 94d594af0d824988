"""The index of ACLs against a plain reading of Kafka's rules; the cost of a decision; replacing it while it is read."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.authorizer import acl_image
from kafka_cy.authorizer.acl_image import AclImage, TooManyAcls
from kafka_cy.authorizer.acl_index_probe import Reader

TOPIC, GROUP = 2, 3
LITERAL, PREFIXED = 3, 4
DENY, ALLOW = 2, 3
ALL, READ, WRITE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS = 2, 3, 4, 6, 7, 8, 10, 11
IMPLIED = {DESCRIBE: {READ, WRITE, DELETE, ALTER}, DESCRIBE_CONFIGS: {ALTER_CONFIGS}}
NO_ACLS, ALLOWED, DENIED = 0, 1, 2


class Acl(NamedTuple):
    """One row."""

    kind: int
    pattern: int
    name: bytes
    user: bytes | None
    host: bytes
    operation: int
    permission: int

    def concerns(self, kind: int, name: bytes) -> bool:
        if self.kind != kind:
            return False
        if self.pattern == PREFIXED:
            return name.startswith(self.name)
        return self.name in (name, b"*")


def naive(acls: Iterable[Acl], user: bytes, host: bytes, operation: int, kind: int, name: bytes) -> int:
    """Kafka's StandardAuthorizerData.findResult over all ACLs."""
    concerned = [acl for acl in acls if acl.concerns(kind, name)]
    mine = [acl for acl in concerned if acl.user in (user, b"*") and acl.host in (host, b"*")]
    if any(acl.permission == DENY and acl.operation in (operation, ALL) for acl in mine):
        return DENIED
    enough = {operation, ALL} | IMPLIED.get(operation, set())
    if any(acl.permission == ALLOW and acl.operation in enough for acl in mine):
        return ALLOWED
    return DENIED if concerned else NO_ACLS


def image_of(acls: Iterable[Acl], image: AclImage | None = None) -> AclImage:
    by_resource: dict[tuple[int, int, bytes], list[tuple[bytes | None, bytes, int, int]]] = {}
    for acl in acls:
        by_resource.setdefault(acl[:3], []).append(acl[3:])
    return (image or AclImage()).replaced([(*resource, rows) for resource, rows in by_resource.items()])


NAMES = st.one_of(
    st.sampled_from([b"", b"*", b"a", b"ab", b"abc", b"abd", b"b", b"*a", b"a\"b", b"a\nb", b"\xff\xfe", b"a\x00", b"a "]),
    st.binary(max_size=6),
)
USERS = st.sampled_from([b"", b"*", b"alice", b"bob", b"Alice", b"al\nice", b"\xff", b"alice "])
HOSTS = st.sampled_from([b"*", b"10.0.0.1", b"10.0.0.2", b"10.0.0.0/8", b"", b"0:0:0:0:0:0:0:1"])
OPERATIONS = st.integers(2, 15)
ACLS = st.builds(
    Acl,
    st.integers(2, 7),
    st.sampled_from([LITERAL, PREFIXED]),
    NAMES,
    st.one_of(st.none(), USERS),
    HOSTS,
    OPERATIONS,
    st.sampled_from([DENY, ALLOW]),
)
QUESTIONS = st.tuples(USERS, HOSTS, st.integers(3, 15), st.integers(0, 9), NAMES)


@settings(max_examples=400, deadline=None)
@given(st.lists(ACLS, max_size=40), st.lists(QUESTIONS, min_size=1, max_size=20))
def test_decisions_are_kafkas(acls: list[Acl], questions: list[tuple[bytes, bytes, int, int, bytes]]) -> None:
    # The questions are about names that occur, too.
    questions += [(acl.user or b"x", acl.host, acl.operation % 13 + 3, acl.kind, acl.name + b"c") for acl in acls]
    questions += [(acl.user or b"x", acl.host, max(acl.operation, 3), acl.kind, acl.name) for acl in acls]
    image = image_of(acls)
    for user, host, operation, kind, name in questions:
        wanted = naive(acls, user, host, operation, kind, name)
        assert image.decide(user, host, operation, kind, name) == wanted, (user, host, operation, kind, name)
        assert image.allows(user, host, operation, kind, name) == (wanted == ALLOWED)
        allow, deny, found, _ = image.masks(user, host, kind, name)
        assert found == (wanted != NO_ACLS or any(acl.concerns(kind, name) for acl in acls))
        assert bool((allow & ~deny) >> operation & 1) == (wanted == ALLOWED)


@pytest.mark.parametrize("permission", [DENY, ALLOW])
def test_what_an_operation_implies(permission: int) -> None:
    for operation in range(2, 16):
        acls = [Acl(TOPIC, LITERAL, b"t", b"a", b"*", operation, permission), Acl(TOPIC, LITERAL, b"*", b"a", b"*", ALL, ALLOW)]
        for some in (acls, acls[:1]):
            image = image_of(some)
            for asked in range(3, 16):
                question = (b"a", b"h", asked, TOPIC, b"t")
                assert image.decide(*question) == naive(some, *question), (operation, asked)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(ACLS, max_size=12), max_size=6), st.data())
def test_successive_indexes_do_not_disturb_each_other(states: list[list[Acl]], data: st.DataObject) -> None:
    """Each index answers for its own state, whatever came before and comes after."""
    image, made = AclImage(), []
    now: list[Acl] = []
    for state in states:
        removed = {acl[:3] for acl in now if data.draw(st.booleans())}
        now = [acl for acl in now if acl[:3] not in removed and acl[:3] not in {each[:3] for each in state}] + state
        changes = {acl[:3]: [row[3:] for row in now if row[:3] == acl[:3]] for acl in state}
        gone = [(*resource, []) for resource in removed if resource not in changes]
        image = image.replaced([*gone, *((*resource, rows) for resource, rows in changes.items())])
        made.append((image, now))
    for earlier, acls in made:
        assert earlier.acls == len(acls)
        assert earlier.resources == len({acl[:3] for acl in acls})
        for kind in range(2, 8):
            sizes = {len(acl.name) for acl in acls if acl.kind == kind and acl.pattern == PREFIXED}
            assert earlier.prefix_sizes(kind) == sorted(sizes)
        for acl in acls:
            question = (acl.user or b"x", acl.host, max(acl.operation, 3), acl.kind, acl.name)
            assert earlier.decide(*question) == naive(acls, *question)
    assert [earlier.generation for earlier, _ in made] == list(range(1, len(made) + 1))


def test_super_users_closed_and_everyone() -> None:
    denied = [(TOPIC, LITERAL, b"*", [(b"*", b"*", ALL, DENY)])]
    image = AclImage([b"root", b"root", b""], everyone=True)
    question = (b"1.1.1.1", READ, TOPIC, b"t")
    assert image.closed and image.allows(b"root", *question) and not image.allows(b"alice", *question)
    image = image.replaced([])
    assert not image.closed and image.allows(b"alice", *question) and image.decide(b"alice", *question) == NO_ACLS
    image = image.replaced(denied)
    assert image.allows(b"root", *question) and image.allows(b"", *question) and not image.allows(b"alice", *question)
    assert image.is_super(b"root") and not image.is_super(b"roo") and not image.is_super(b"*")
    assert not image.replaced([], closed=True).allows(b"alice", b"1.1.1.1", READ, GROUP, b"g")


def test_rules_of_many_users_and_hosts_of_one_resource() -> None:
    """More rules than are scanned: they have a table."""
    acls = [Acl(TOPIC, LITERAL, b"t", b"u%d" % (i % 50), b"h%d" % (i // 50), READ + i % 9, ALLOW + i % 2 - 1) for i in range(500)]
    image = image_of(acls)
    for i in range(0, 500, 7):
        for operation in range(3, 13):
            question = (b"u%d" % (i % 50), b"h%d" % (i // 50), operation, TOPIC, b"t")
            assert image.decide(*question) == naive(acls, *question)


@pytest.mark.parametrize("count", [10, 1000, 50_000])
def test_the_cost_does_not_depend_on_the_number_of_acls(count: int) -> None:
    sizes = 5
    acls = [Acl(TOPIC, LITERAL, b"topic-%d" % i, b"user-%d" % i, b"*", READ, ALLOW) for i in range(count // 2)]
    acls += [Acl(TOPIC, LITERAL, b"big", b"user-%d" % i, b"*", READ, ALLOW) for i in range(count // 2)]
    acls += [Acl(TOPIC, PREFIXED, b"top-"[: 1 + i % 4] + b"x" * (i % sizes), b"user-1", b"*", READ, ALLOW) for i in range(60)]
    image = image_of(acls)
    kinds = len(image.prefix_sizes(TOPIC))
    for name in (b"topic-3", b"big", b"nothing", b"t" * 200):
        looks = image.masks(b"user-3", b"10.0.0.1", TOPIC, name)[3]
        assert looks <= (2 + kinds) * 5, name


def test_too_many_acls_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_image, "ACLS_MAX", 3)
    image = image_of([Acl(TOPIC, LITERAL, b"t%d" % i, b"a", b"*", READ, ALLOW) for i in range(3)])
    with pytest.raises(TooManyAcls):
        image.replaced([(TOPIC, LITERAL, b"u", [(b"a", b"*", READ, ALLOW)])])
    assert image.acls == 3 and image.replaced([(TOPIC, LITERAL, b"t1", [])]).acls == 2
    monkeypatch.setattr(acl_image, "TEXT_BYTES_MAX", 100)
    with pytest.raises(TooManyAcls):
        AclImage().replaced([(TOPIC, LITERAL, b"x" * 101, [(b"a", b"*", READ, ALLOW)])])


@pytest.mark.parametrize(
    "change",
    [
        (8, LITERAL, b"t", []),
        (-1, LITERAL, b"t", []),
        (TOPIC, 2, b"t", []),
        (TOPIC, LITERAL, b"t", [(b"a", b"*", 1, ALLOW)]),
        (TOPIC, LITERAL, b"t", [(b"a", b"*", 32, ALLOW)]),
        (TOPIC, LITERAL, b"t", [("a", b"*", READ, ALLOW)]),
        (TOPIC, LITERAL, "t", []),
        (TOPIC, LITERAL, b"t", [(b"a", None, READ, ALLOW)]),
    ],
)
def test_what_is_wrong_changes_nothing(change: tuple[int, int, bytes, list[tuple[bytes, bytes, int, int]]]) -> None:
    good = (TOPIC, LITERAL, b"good", [(b"a", b"*", READ, ALLOW)])
    image = AclImage().replaced([good])
    for _ in range(3):
        with pytest.raises((ValueError, TypeError)):
            image.replaced([(TOPIC, PREFIXED, b"p", good[3]), (TOPIC, LITERAL, b"good", []), change])
    assert image.acls == 1 and image.references == 1 and image.prefix_sizes(TOPIC) == []
    assert image.decide(b"a", b"h", READ, TOPIC, b"good") == ALLOWED


def test_readers_see_whole_states_while_it_is_replaced() -> None:
    """In each state exactly one of two topics is allowed, and an index is freed while others are read."""
    one = [(TOPIC, LITERAL, b"a", [(b"u", b"*", READ, ALLOW)]), (TOPIC, LITERAL, b"b", [])]
    two = [(TOPIC, LITERAL, b"b", [(b"u", b"*", READ, ALLOW)]), (TOPIC, LITERAL, b"a", [])]
    many = [(TOPIC, LITERAL, b"t%d" % i, [(b"u", b"*", READ, ALLOW)]) for i in range(2000)]
    image = AclImage().replaced([*many, *one])
    readers: queue.Queue[Reader | None] = queue.Queue(maxsize=8)
    seen: list[int] = []

    def read() -> None:
        while (reader := readers.get()) is not None:
            seen.append(reader.exactly_one(b"u", b"h", TOPIC, b"a", b"b", READ, 200))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1500):
        readers.put(Reader(image))  # it releases its reference on the other thread
        image = image.replaced([*(two if i % 2 == 0 else one), many[i], (*many[i + 1][:3], [])])
    for _ in threads:
        readers.put(None)
    for thread in threads:
        thread.join()
    assert seen == [200] * 1500 and image.references == 1

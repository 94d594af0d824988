"""Kinds of ACLs, filters, what may be created, the Authorizer, audit lines, and the table of what APIs need."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.api.authorization_table import TABLE, Check, Denied
from kafka_cy.api.member_registry import MEMBER_APIS
from kafka_cy.api.registry import APIS
from kafka_cy.authorizer import acl_image
from kafka_cy.authorizer.acl_image import TooManyAcls
from kafka_cy.authorizer.acls import (
    ALL_BITS,
    TEXT_BYTES_MAX,
    AclEntry,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    Resource,
    ResourceType,
    host_text,
    why_invalid,
)
from kafka_cy.authorizer.audit import Decision, audit_line
from kafka_cy.authorizer.authorizer import CLASS_NAMES, NAMES_GONE, Authorizer, authorizer_of, parse_super_users
from kafka_cy.protocol.errors import ErrorCode

T, G, C = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER
LITERAL, PREFIXED, MATCH, ANY = PatternType.LITERAL, PatternType.PREFIXED, PatternType.MATCH, PatternType.ANY
READ, WRITE, DESCRIBE, ALL = Operation.READ, Operation.WRITE, Operation.DESCRIBE, Operation.ALL
ALLOW, DENY = Permission.ALLOW, Permission.DENY
HOST = "10.0.0.1"


def entry(user: str = "alice", operation: int = READ, permission: int = ALLOW, host: str = "*") -> AclEntry:
    return AclEntry(f"User:{user}", host, operation, permission)


def topic(name: str, pattern: int = LITERAL) -> Resource:
    return Resource(T, pattern, name)


def opened(acls: dict[Resource, list[AclEntry]], **options: Any) -> Authorizer:
    authorizer = Authorizer(**options)
    authorizer.update(acls)
    authorizer.open()
    return authorizer


# -- creations and filters --


@pytest.mark.parametrize(
    ("resource", "the_entry"),
    [
        (topic(""), entry()),
        (topic("", PREFIXED), entry()),
        (Resource(C, LITERAL, "other"), entry()),
        (Resource(C, PREFIXED, "kafka"), entry()),
        (topic("t"), AclEntry("alice", "*", READ, ALLOW)),
        (topic("t"), AclEntry("", "*", READ, ALLOW)),
        *[(Resource(kind, LITERAL, "t"), entry()) for kind in (0, 1, 8, -1, 77)],
        *[(topic("t", pattern), entry()) for pattern in (0, 1, 2, 5, 55)],
        *[(topic("t"), entry(operation=operation)) for operation in (0, 1, 16, 99, -1)],
        *[(topic("t"), entry(permission=permission)) for permission in (0, 1, 4, 9)],
        *[(topic(name), entry()) for name in ("a/b", "/", ".", "..", "a\x00", "a\n", "\ue000", "\uffff")],
        (topic("t" * (TEXT_BYTES_MAX + 1)), entry()),
        (topic("t"), entry(user="é" * (TEXT_BYTES_MAX // 2))),
        (topic("t"), entry(host="h" * (TEXT_BYTES_MAX + 1))),
    ],
)
def test_what_cannot_be_created(resource: Resource, the_entry: AclEntry) -> None:
    assert why_invalid(resource, the_entry)


@pytest.mark.parametrize(
    ("resource", "the_entry"),
    [
        (topic("t"), entry(host="no address")),
        (topic("t"), entry(user="")),
        (topic("t"), AclEntry("Group:x", "*", READ, ALLOW)),
        (topic("t"), AclEntry("User:CN=a:b,O=c", "", READ, ALLOW)),
        (topic("t"), entry(operation=Operation.TWO_PHASE_COMMIT)),
        (topic("*"), entry()),
        (topic("*", PREFIXED), entry()),
        (topic("a b%é'\""), entry()),
        (Resource(C, LITERAL, "kafka-cluster"), entry()),
        (Resource(C, PREFIXED, "kafka-cluster"), entry()),
        (Resource(ResourceType.USER, LITERAL, "User:bob"), entry()),
        (topic("..."), entry(user="é" * (TEXT_BYTES_MAX // 2 - 3))),
    ],
)
def test_what_can_be_created(resource: Resource, the_entry: AclEntry) -> None:
    assert why_invalid(resource, the_entry) is None


RESOURCES = [
    topic("foo"), topic("*"), topic("fo", PREFIXED), topic("foo", PREFIXED), topic("food", PREFIXED), topic("*", PREFIXED),
    Resource(G, LITERAL, "foo"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        (AclFilter(), RESOURCES),
        (AclFilter(T), RESOURCES[:6]),
        (AclFilter(T, "foo", ANY), [topic("foo"), topic("foo", PREFIXED)]),
        (AclFilter(T, "foo", LITERAL), [topic("foo")]),
        (AclFilter(T, "foo", PREFIXED), [topic("foo", PREFIXED)]),
        (AclFilter(T, "foo", MATCH), RESOURCES[:4]),
        (AclFilter(T, None, MATCH), RESOURCES[:6]),
        (AclFilter(T, "*", LITERAL), [topic("*")]),
        (AclFilter(T, "x", MATCH), [topic("*")]),
        (AclFilter(ResourceType.ANY, "foo", LITERAL), [topic("foo"), Resource(G, LITERAL, "foo")]),
        (AclFilter(T, None, PREFIXED), [each for each in RESOURCES if each.pattern_type == PREFIXED]),
        (AclFilter(77), []),
        (AclFilter(T, "foo", 55), []),
    ],
)
def test_filters_of_resources(wanted: AclFilter, matching: list[Resource]) -> None:
    assert [each for each in RESOURCES if wanted.matches_resource(each)] == matching
    authorizer = opened({each: [entry()] for each in RESOURCES})
    assert {each for each, _ in authorizer.matching(wanted)} == set(matching)


def test_filters_of_entries() -> None:
    some = [entry(), entry("bob", ALL, DENY, HOST), AclEntry("User:*", "*", WRITE, ALLOW)]
    find = lambda **of: [each for each in some if AclFilter(**of).matches_entry(each)]  # noqa: E731
    assert find() == some
    assert find(principal="User:alice") == [some[0]] and find(principal="User:*") == [some[2]]
    assert find(host="*") == [some[0], some[2]] and find(host=HOST) == [some[1]]
    assert find(operation=ALL) == [some[1]] and find(operation=READ) == [some[0]]
    assert find(permission=DENY) == [some[1]] and find(operation=99) == find(permission=99) == find(principal="") == []


def test_a_filter_that_names_its_resources_looks_at_no_others() -> None:
    authorizer = opened({topic(f"t{i}"): [entry()] for i in range(100)})
    authorizer._entries = {key: value for key, value in authorizer._entries.items() if key.name in ("t1", "t2")}
    assert AclFilter(T, "t1", LITERAL).resources == (topic("t1"),)
    assert AclFilter(T, "t1", ANY).resources == (topic("t1"), topic("t1", PREFIXED))
    assert AclFilter(T, "t1", MATCH).resources is AclFilter(T).resources is AclFilter(name="t1").resources is None


def test_bit_fields_are_kafkas() -> None:
    assert (ALL_BITS[T], ALL_BITS[G], ALL_BITS[C]) == (3576, 3400, 8096)


# -- the authorizer --


def test_super_users() -> None:
    text = " User:CN=a,O=b ; User:root;Group:x;;User:ünï"
    assert parse_super_users(text) == ["User:CN=a,O=b", "User:root", "Group:x", "User:ünï"]
    authorizer = opened({topic("t"): [entry("*", ALL, DENY)]}, super_users=text)
    for user in ("CN=a,O=b", "root", "ünï"):
        assert authorizer.allows(user, HOST, READ, T, "t") and authorizer.operations(user, HOST, T, "t") == ALL_BITS[T]
        assert authorizer.allows_any(user, HOST, WRITE, T)
    for user in ("x", "", "Root", "User:root", None):
        assert not authorizer.allows(user, HOST, READ, T, "t")
    with pytest.raises(ValueError, match="root"):
        Authorizer("root")


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_settings(name: str) -> None:
    made = authorizer_of(name, "User:a;User:b", "True")
    assert made is not None and made.image.everyone and made.image.closed and made.image.is_super(b"b")
    made = authorizer_of(f" {name} ")
    assert made is not None and not made.image.everyone and not made.image.is_super(b"b")
    for wrong in ((name, "root"), (name, "", "yes"), ("com.Other",)):
        with pytest.raises(ValueError):
            authorizer_of(*wrong)
    assert authorizer_of("") is None


def test_anonymous_is_a_user() -> None:
    authorizer = opened({topic("t"): [entry("ANONYMOUS")]})
    assert authorizer.allows(None, HOST, READ, T, "t") and not authorizer.allows("", HOST, READ, T, "t")


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:db8::00ff", "2001:db8:0:0:0:0:0:ff"),
        ("fe80::1%eth0", "fe80:0:0:0:0:0:0:1%eth0"),
        ("a:b", "a:b"),
    ],
)
def test_hosts_are_as_java_writes_them(host: str, text: str) -> None:
    assert host_text(host) == text
    authorizer = opened({topic("t"): [entry(host=text)]})
    assert authorizer.allows("alice", host, READ, T, "t")
    assert authorizer.operations("alice", host, T, "t") == 1 << READ | 1 << DESCRIBE


def test_addresses_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decision asks for the text."""
    parsed: list[str] = []
    address = ipaddress.IPv6Address
    monkeypatch.setattr("ipaddress.IPv6Address", lambda of: (parsed.append(of) if isinstance(of, str) else None, address(of))[1])
    authorizer = opened({topic("t"): [entry(host="fd00:0:0:0:0:0:7a:77")]})
    assert all(authorizer.allows("alice", "fd00::7a:77", READ, T, "t") for _ in range(5))
    assert parsed == ["fd00::7a:77"]


def test_operations() -> None:
    acls = {topic("t"): [entry(), entry(operation=DESCRIBE, permission=DENY), entry("bob", ALL), entry("bob", WRITE, DENY, HOST)]}
    authorizer = opened(acls)
    assert authorizer.operations("alice", HOST, T, "t") == 1 << READ
    assert authorizer.operations("bob", HOST, T, "t") == ALL_BITS[T] & ~(1 << WRITE)
    assert authorizer.operations("bob", "other", T, "t") == ALL_BITS[T]
    assert authorizer.operations("carol", HOST, T, "t") == authorizer.operations("bob", HOST, T, "u") == 0
    assert opened(acls, everyone=True).operations("carol", HOST, T, "u") == ALL_BITS[T]
    assert opened(acls, everyone=True).operations("carol", HOST, T, "t") == 0


def naive_any(acls: dict[Resource, list[AclEntry]], user: str, operation: int) -> bool:
    """Authorizer.authorizeByResourceType of Kafka 4.3.1, for topics."""
    mine = [
        (resource, each)
        for resource, entries in acls.items()
        for each in entries
        if each.principal in (f"User:{user}", "User:*") and each.host in (HOST, "*") and each.operation in (operation, ALL)
    ]
    denied = {resource for resource, each in mine if each.permission == DENY}
    allowed = {resource for resource, each in mine if each.permission == ALLOW}
    hard = [each for each in mine if each[0].pattern_type == LITERAL and each[0].name in ("*", "hardcode")]
    hard += [each for each in mine if each[0].pattern_type == PREFIXED and "hardcode".startswith(each[0].name)]
    if hard and all(each.permission == ALLOW for _, each in hard):
        return True
    if topic("*") in denied:
        return False
    if topic("*") in allowed:
        return True
    for resource in allowed:
        if resource.pattern_type == LITERAL and resource in denied:
            continue
        prefixes = {resource.name[:size] for size in range(1, len(resource.name) + 1)}
        if not any(each.pattern_type == PREFIXED and each.name in prefixes for each in denied):
            return True
    return False


NAMES = st.sampled_from(["*", "a", "ab", "abc", "h", "hardcode", "b", "é", "éa"])
ENTRIES = st.builds(
    entry,
    st.sampled_from(["alice", "bob", "*"]),
    st.sampled_from([WRITE, WRITE, READ, ALL]),
    st.sampled_from([ALLOW, DENY]),
    st.sampled_from(["*", HOST, "10.0.0.2"]),
)
PATTERNS = st.builds(topic, NAMES, st.sampled_from([LITERAL, PREFIXED]))
SOME_ACLS = st.dictionaries(PATTERNS, st.lists(ENTRIES, max_size=3), max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(SOME_ACLS, min_size=1, max_size=4))
def test_any_resource_of_a_type(steps: list[dict[Resource, list[AclEntry]]]) -> None:
    """After each change, as if all had been there from the beginning."""
    authorizer = opened({})
    now: dict[Resource, list[AclEntry]] = {}
    for step in steps:
        authorizer.update(step)
        now.update(step)
        for user in ("alice", "bob", "carol"):
            for operation in (WRITE, READ):
                assert authorizer.allows_any(user, HOST, operation, T) == naive_any(now, user, operation)
        assert {each: set(authorizer.entries(each)) for each in authorizer.resources()} == {
            each: set(entries) for each, entries in now.items() if entries
        }
        allows = {
            (each.resource_type, e.principal[5:].encode(), e.host.encode(), e.operation)
            for each, entries in now.items()
            for e in entries
            if e.permission == ALLOW
        }
        assert set(authorizer._allowing) == allows, "what nobody needs is forgotten"


def test_any_resource_looks_only_at_what_allows_it() -> None:
    """However many other ACLs the user has."""
    acls = {topic(f"t{i}"): [entry(operation=READ), entry(operation=WRITE, host="10.9.9.9")] for i in range(100)}
    authorizer = opened({**acls, topic("d"): [entry(operation=WRITE, permission=DENY)], topic("w"): [entry(operation=WRITE)]})
    assert authorizer._names_that_allow(T, b"alice", HOST.encode(), WRITE) == [([topic("w")], 1)]
    assert authorizer.allows_any("alice", HOST, WRITE, T) and not authorizer.allows_any("bob", HOST, WRITE, T)


def test_verdicts_about_any_resource_are_kept_until_an_acl_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    authorizer = opened({topic("t"): [entry(operation=WRITE)]})
    asked: list[Any] = []
    find = authorizer._find_any
    monkeypatch.setattr(authorizer, "_find_any", lambda *of: (asked.append(of), find(*of))[1])
    for _ in range(3):
        assert authorizer.allows_any("alice", HOST, WRITE, T) and not authorizer.allows_any("bob", HOST, WRITE, T)
    assert len(asked) == 2
    authorizer.update({topic("t"): []})
    assert not authorizer.allows_any("alice", HOST, WRITE, T) and len(asked) == 3
    monkeypatch.setattr("kafka_cy.authorizer.authorizer.VERDICTS_KEPT", 5)
    for i in range(20):
        authorizer.allows_any(f"u{i}", HOST, WRITE, T)
    assert len(authorizer._verdicts[1]) <= 5


def test_a_change_while_somebody_asks_about_any_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed before and after, so never denied; and what was found before the change is not kept."""
    authorizer = opened({topic("a"): [entry(operation=WRITE)]})
    find = authorizer._find_any

    def found(*of: Any) -> Any:
        if authorizer.entries(topic("a")):
            authorizer.update({topic("a"): [], topic("b"): [entry(operation=WRITE)]})
        return find(*of)

    monkeypatch.setattr(authorizer, "_find_any", found)
    assert authorizer.allows_any("alice", HOST, WRITE, T)
    authorizer.update({topic("b"): []})
    assert not authorizer.allows_any("alice", HOST, WRITE, T)


def test_any_resource_is_looked_for_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ACLs allow it, if all are of no use."""
    monkeypatch.setattr("kafka_cy.authorizer.authorizer.LOOKS_AT_ONCE", 20)
    denied = {topic("d", PREFIXED): [entry(operation=WRITE, permission=DENY)]}
    acls = {**{topic(f"d{i}"): [entry(operation=WRITE)] for i in range(100)}, **denied}
    authorizer = opened(acls)
    steps = authorizer.find_any("alice", HOST, WRITE, T)
    assert sum(1 for _ in steps) == 10 and not authorizer.allows_any("alice", HOST, WRITE, T)
    assert not list(authorizer.find_any("alice", HOST, WRITE, T)), "the verdict is kept"
    authorizer = opened({**acls, **{topic("e" * size, PREFIXED): [entry()] for size in (2, 3, 4)}})
    steps = authorizer.find_any("alice", HOST, WRITE, T)
    assert sum(1 for _ in steps) == 19, "a name of three bytes is looked for among the prefixes of three sizes, too"


@pytest.mark.parametrize("allowed", [False, True])
def test_any_resource_while_acls_change_all_the_time(monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    """The answer is that of the beginning, after as many steps as if nothing had changed, and is not kept for others."""
    monkeypatch.setattr("kafka_cy.authorizer.authorizer.LOOKS_AT_ONCE", 1)
    looks: list[bytes] = []
    monkeypatch.setattr("kafka_cy.authorizer.authorizer.to_bytes", lambda text: (looks.append(text), text.encode())[1])
    acls = {topic(f"d{i}"): [entry(operation=WRITE)] for i in range(100)}
    authorizer = opened({**acls, topic("d", PREFIXED): [entry(operation=WRITE, permission=DENY)]})
    if allowed:
        authorizer.update({topic("a"): [entry(operation=WRITE)]})
    looks.clear()
    steps, count = authorizer.find_any("alice", HOST, WRITE, T), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert end.value is allowed
            break
        assert len(looks) <= 3, "one name in each step, and who asks in the first"
        changes: dict[Resource, list[AclEntry]] = {topic(f"d{count}"): [], topic(f"b{count}"): [entry(operation=WRITE)]}
        authorizer.update({**changes, topic("a"): []})
        count += 1
        looks.clear()
    assert count == 100
    assert authorizer.allows_any("alice", HOST, WRITE, T)


def test_any_resource_while_another_thread_changes_the_acls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice is never without a name that is allowed, and Bob never has one."""
    monkeypatch.setattr("kafka_cy.authorizer.authorizer.LOOKS_AT_ONCE", 10)
    denied = [entry("bob", WRITE, DENY), *[entry(user, WRITE) for user in ("alice", "bob")]]
    authorizer = opened({**{topic(f"d{i}"): denied for i in range(50)}, topic("a0"): [entry(operation=WRITE)]})
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            names = [topic(f"d{number % 50}"), topic(f"a{number - 1}")]
            authorizer.update({topic(f"a{number}"): [entry(operation=WRITE)], **{name: [] for name in names}})
            authorizer.update({names[0]: denied})

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            assert authorizer.allows_any("alice", HOST, WRITE, T)
            assert sum(1 for _ in authorizer.find_any("bob", HOST, WRITE, T)) < 50
            assert not authorizer.allows_any("bob", HOST, WRITE, T)
    finally:
        over.set()
        thread.join()
    assert all(len(each.names) <= 2 * len(each) + NAMES_GONE for each in authorizer._allowing.values())


def test_any_resource_before_the_acls_are_known() -> None:
    authorizer = Authorizer("User:root", everyone=True)
    assert not authorizer.allows_any("alice", HOST, WRITE, T) and authorizer.allows_any("root", HOST, WRITE, T)
    authorizer.open()
    assert authorizer.allows_any("alice", HOST, WRITE, T)
    authorizer.shut()
    assert not authorizer.allows_any("alice", HOST, WRITE, T) and authorizer.operations("alice", HOST, T, "t") == 0


def test_a_change_that_cannot_be_made_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[Any] = []
    authorizer = opened({topic("t"): [entry()]}, publish=images.append)
    monkeypatch.setattr(acl_image, "ACLS_MAX", 2)
    count = len(images)
    with pytest.raises(TooManyAcls):
        authorizer.update({topic("t"): [], topic("u"): [entry("u1"), entry("u2"), entry("u3")]})
    assert len(images) == count and authorizer.image is images[-1]
    assert authorizer.resources() == [topic("t")] and authorizer.allows("alice", HOST, READ, T, "t")
    authorizer.update({topic("t"): [entry(), entry()]})
    assert len(images) == count, "nothing new"
    generation = authorizer.image.generation
    authorizer.update({topic("t"): [entry("bob")]})
    assert authorizer.image.generation == generation + 1 and len(images) == count + 1


def test_a_change_is_seen_whole() -> None:
    """Whoever asks while the change is being made gets the answers of before: at the moment of publication, too."""
    answers: list[tuple[bool, bool, bool]] = []
    authorizer = opened({topic("a"): [entry(operation=WRITE)]})

    def publish(image: Any) -> None:
        a, b = (authorizer.allows("alice", HOST, WRITE, T, name) for name in "ab")
        answers.append((a, b, authorizer.allows_any("alice", HOST, WRITE, T)))

    authorizer._publish = publish
    authorizer.update({topic("a"): [], topic("b"): [entry(operation=WRITE)]})
    assert answers == [(True, False, True)]
    assert not authorizer.allows("alice", HOST, WRITE, T, "a") and authorizer.allows("alice", HOST, WRITE, T, "b")


# -- audit --


class KeptAudit:
    """Keeps the lines."""

    def __init__(self, *, wants_allowed: bool) -> None:
        self.wants_allowed = wants_allowed
        self.lines: list[tuple[bool, str]] = []

    def wants(self, allowed: bool) -> bool:
        return not allowed or self.wants_allowed

    def decided(self, decision: Decision, rule: Callable[[], str]) -> None:
        self.lines.append((decision.allowed, audit_line(decision, rule())))


def test_audit_lines() -> None:
    audit = KeptAudit(wants_allowed=False)
    acls = {topic("t"): [entry()], topic("p", PREFIXED): [entry("*", ALL, DENY)]}
    authorizer = opened(acls, super_users="User:root", audit=audit)
    authorizer.allows("a", "1.2.3.4", READ, T, "t", request="Fetch")
    assert audit.lines == [
        (
            False,
            "Principal = User:a is Denied operation = READ from host = 1.2.3.4 on resource = Topic:LITERAL:t"
            " for request = Fetch with resourceRefCount = 1 based on rule DefaultDeny",
        )
    ]
    audit.lines.clear()
    authorizer.allows("alice", HOST, READ, T, "t")
    authorizer.allows("a", HOST, READ, T, "t", log_denied=False)
    assert audit.lines == []
    authorizer.allows("alice", HOST, READ, T, "p\n1")
    assert "MatchingAcl(resource=Topic:PREFIXED:p, permissionType=DENY)" in audit.lines[0][1] and r"p\n1" in audit.lines[0][1]
    audit.wants_allowed = True
    authorizer.allows("alice", HOST, READ, T, "t", request="Fetch", count=7)
    authorizer.allows("root", HOST, READ, T, "p")
    assert audit.lines[1][0] and "is Allowed" in audit.lines[1][1] and "resourceRefCount = 7" in audit.lines[1][1]
    assert audit.lines[2][1].endswith("based on rule SuperUser")


# -- the table --


def test_every_api_has_its_row() -> None:
    assert set(TABLE) == set(APIS) | set(MEMBER_APIS)
    for key, checks in TABLE.items():
        for check in checks:
            assert isinstance(check, Check)
            assert (check.error == ErrorCode.NONE) == (check.denied in (Denied.FILTERED, Denied.FIELD)), key
            assert all(operation > ALL for _, operation in check.alternatives), key
    for key, api in {**APIS, **MEMBER_APIS}.items():
        allowed = {each for check in TABLE[key] for each in check.alternatives}
        assert not api.cluster_action or (C, Operation.CLUSTER_ACTION) in allowed, key
        assert not api.before_authentication or TABLE[key] == (), key

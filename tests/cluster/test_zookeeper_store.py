"""The ZooKeeper store with a real ZooKeeper: answers in order, watches, lost connections and replies, sessions that end."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any

import pytest
from kazoo.security import make_acl

from kafka_cy.cluster import zookeeper_store
from kafka_cy.cluster.change_size import CHANGE_BYTES_MAX, change_bytes
from kafka_cy.cluster.store import (
    ANY_VERSION,
    BadVersionError,
    ChangeTooLarge,
    Check,
    Children,
    ConnectionLost,
    Create,
    Delete,
    Exists,
    Get,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    Operation,
    OutcomeUnknown,
    SessionEvent,
    SessionExpired,
    Set,
    StoreError,
)
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.zookeeper_store import EVENTS_A_TURN, ZooKeeperStore
from tests.cluster.store_owner import Log, Owner
from tests.cluster.zookeeper_ensemble import MULTI, Ensemble, Proxy
from tests.no_threads import forbid_threads

CONNECTED, SUSPENDED, EXPIRED = SessionEvent.CONNECTED, SessionEvent.SUSPENDED, SessionEvent.EXPIRED


def client_id(owner: Owner) -> tuple[int, bytes]:
    return owner.zookeeper._connection._client.client_id


def test_who_asks_again_does_not_keep_a_store_from_closing() -> None:
    """As what follows changes does at the end of a session; no session may come before the stop."""
    owner = Owner("127.0.0.1:1")  # nobody listens there
    faults: list[StoreError | None] = []

    def ask(answers: object = None, fault: StoreError | None = None) -> None:
        faults.append(fault)
        owner.store.read([Exists("/a")], ask)

    ask()
    owner.store.close()
    assert len(faults) == 2 and isinstance(faults[1], SessionExpired)


def test_requests_before_the_connection_and_in_a_new_chroot(zookeeper_connect: str) -> None:
    with Owner(zookeeper_connect) as owner:
        assert owner.store.session_id == 0
        assert owner.change(Create("/a", b"1"), Create("/a/b", None), Set("/a", b"2", 0), Check("/a", 1)) == [
            "/a", "/a/b", 1, None,
        ]  # fmt: skip
        node, stat, children, missing, root = owner.read(
            Get("/a"), Exists("/a"), Children("/a"), Get("/none"), Children("/")
        )
        assert (node.data, node.version, node.owner, node.ephemeral) == (b"2", 1, 0, False)
        assert stat == node._replace(data=None) and node.created_id > 0 and node.created_ms > 0
        assert (children, missing, root) == (["b"], None, ["a"])
        assert owner.read(Get("/a/b"))[0].data is None
        assert owner.events == [CONNECTED] and owner.store.session_id == client_id(owner)[0]
        assert owner.read() == [] and owner.change() == []


def test_what_is_refused_and_which_operation(zookeeper_connect: str) -> None:
    with Owner(zookeeper_connect) as owner:
        owner.change(Create("/a"), Create("/a/b"), Create("/e", ephemeral=True))
        for operations, error, index in (
            ([Check("/a", 7), Create("/new")], BadVersionError, 0),
            ([Create("/new"), Create("/a")], NodeExistsError, 1),
            ([Create("/new"), Set("/none", b"")], NoNodeError, 1),
            ([Create("/new"), Create("/none/x")], NoNodeError, 1),
            ([Delete("/a")], NotEmptyError, 0),
            ([Create("/e/child")], NoChildrenForEphemeralsError, 0),
        ):
            with pytest.raises(error) as refused:
                owner.change(*operations)
            assert refused.value.operation == index
        with pytest.raises(StoreError, match="does not allow"):
            owner.change(Create("/a/../b"))
        with pytest.raises(StoreError, match="does not allow"):
            owner.read(Get("no slash"))
        assert owner.read(Exists("/new"))[0] is None


def test_a_change_that_zookeeper_would_not_take_is_not_sent(zookeeper_connect: str) -> None:
    """ZooKeeper would close the connection. The largest that is sent is taken, with many nodes as with one."""
    with Owner(zookeeper_connect) as owner:
        owner.change(Create("/a"))
        chroot = owner.zookeeper._chroot
        many: list[Operation] = [Create(f"/a/{number}", b"x" * 30) for number in range(3000)]
        left = CHANGE_BYTES_MAX - change_bytes([*many, Set("/a", b"")], chroot)
        for least, operations in ((b"y" * left, many), (b"y" * (left + change_bytes(many, chroot)), [])):
            with pytest.raises(ChangeTooLarge):
                owner.change(*operations, Set("/a", least + b"y"))
            owner.change(*operations, Set("/a", least))
        assert owner.read(Get("/a"))[0].version == 2 and owner.events == [CONNECTED]


def test_a_root_that_may_not_be_read(one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    """An administrator has restricted it. What Kafka keeps below has its own rights."""

    async def steps(calls: StoreCalls) -> Any:
        await calls.catch_up()
        return await calls.read(Get("/a"))

    with Owner(zookeeper_connect) as owner, one_zookeeper.client() as client:
        owner.change(Create("/a", b"1"))
        client.set_acls(chroot, [make_acl("world", "anyone", create=True, delete=True)])
        with pytest.raises(NoAuthError):
            owner.change(Check("/", ANY_VERSION))
        (node,) = owner.steps(steps)
        assert node.data == b"1"


def test_a_node_that_may_not_be_read(one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    """The caller can tell this from other faults, and says which node it is."""
    with Owner(zookeeper_connect) as owner, one_zookeeper.client(chroot) as client:
        owner.change(Create("/a", b"1"), Create("/b", b"2"))
        client.set_acls("/a", [make_acl("world", "anyone", admin=True)])
        for requests in ([Get("/a")], [Children("/a")], [Get("/b"), Get("/a", print), Get("/b")]):
            with pytest.raises(NoAuthError, match=r"NoAuthError of /a$"):
                owner.read(*requests)
        client.set_acls("/a", [make_acl("world", "anyone", all=True)])
        assert [node.data for node in owner.read(Get("/b"), Get("/a"))] == [b"2", b"1"]


def test_refused_reads_do_not_look_through_those_that_wait(
    one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str
) -> None:
    """Else many refused topics would cost their square."""

    class Calls(deque[Any]):
        looked_at = 0

        def __contains__(self, call: object) -> bool:
            self.looked_at += len(self)
            return super().__contains__(call)

    with Owner(zookeeper_connect) as owner, one_zookeeper.client(chroot) as client:
        owner.change(Create("/a"))
        client.set_acls("/a", [make_acl("world", "anyone", admin=True)])
        owner.zookeeper._to_send = waiting = Calls()
        seen: list[Any] = []
        for _ in range(300):
            owner.store.read([Get("/a")], lambda answers, error: seen.append(type(error)))
            owner.store.submit([Create("/a")], lambda results, error: seen.append(type(error)))
        owner.run_until(lambda: len(seen) == 600)
        assert seen == [NoAuthError, NodeExistsError] * 300 and waiting.looked_at == 0
        owner.store.read([Get("/a")] * 300, lambda answers, error: seen.append(type(error)))
        owner.run_until(lambda: len(seen) == 601)
        assert seen[-1] is NoAuthError and not waiting and owner.zookeeper._waiting_bytes == 0


@pytest.mark.parametrize("in_flight_max", [1, 10, 1000])
def test_answers_come_in_order_however_many_are_in_flight(zookeeper_connect: str, in_flight_max: int) -> None:
    with Owner(zookeeper_connect, in_flight_max=in_flight_max) as owner:
        seen: list[Any] = []
        names = [f"/n{number}" for number in range(300)]
        for name in names:
            owner.store.submit([Create(name)], lambda results, error: seen.append(results))
            owner.store.read([Exists(name), Exists(name)], lambda answer, error: seen.append(answer and len(answer)))
            owner.store.submit([Create(name)], lambda results, error: seen.append(type(error)))
        assert seen == []
        owner.run_until(lambda: len(seen) == 900)
        assert seen == [each for name in names for each in ([name], 2, NodeExistsError)]
        assert owner.store.change_times.count >= 1200


def test_a_watch_fires_once_and_before_the_answer_that_shows_the_change(
    one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str
) -> None:
    with Owner(zookeeper_connect) as owner, Owner(zookeeper_connect) as other:
        seen: list[Any] = []
        owner.change(Create("/a", b"1"), Create("/c"))
        owner.read(Get("/a", seen.append), Get("/a", seen.append), Exists("/b", seen.append), Children("/c", seen.append))
        owner.read(Get("/none", seen.append), Children("/none", seen.append))
        for operations in ([Set("/a", b"2")], [Create("/b")], [Create("/c/x")], [Set("/a", b"3")], [Create("/none")]):
            other.change(*operations)
        # Each read is answered after the watch of what it shows.
        for _ in range(1000):
            node = owner.read(Get("/a"))[0]
            assert node.data == b"1" or "/a" in seen
            if node.data == b"3" and owner.read(Exists("/none"))[0] is not None:
                break
        assert seen == ["/a", "/b", "/c"]
        owner.read(Children("/c", seen.append), Get("/c/x", seen.append))
        other.change(Delete("/c/x"), Delete("/c"))
        owner.run_until(lambda: len(seen) == 5)
        assert sorted(seen[3:]) == ["/c", "/c/x"]


def test_a_fault_in_a_callback_is_reported_and_stops_nothing(zookeeper_connect: str) -> None:
    with Owner(zookeeper_connect) as owner:
        owner.change(Create("/a"))
        owner.read(Exists("/a", lambda path: 1 // 0))
        faults: list[type[BaseException]] = []
        seen: list[Any] = []
        owner.store.submit([Set("/a", b"")], lambda results, error: {}["fault"])
        owner.store.submit([Set("/a", b"")], lambda results, error: seen.append(results))
        while not seen or len(faults) < 2:
            try:
                owner.run_until(lambda: seen and len(faults) == 2)
            except (ZeroDivisionError, KeyError) as fault:
                faults.append(type(fault))
        assert seen == [[2]] and faults == [ZeroDivisionError, KeyError]


def test_the_session_goes_on_and_its_watches_see_what_was_missed(one_zookeeper: Ensemble, chroot: str) -> None:
    with (
        Proxy(one_zookeeper.servers[0].port) as proxy,
        Owner(f"127.0.0.1:{proxy.port}{chroot}", in_flight_max=3) as owner,
        one_zookeeper.client(chroot) as other,
    ):
        paths = ["/changed", "/same", "/deleted", "/parent", "/still", "/gone", "/replaced"]
        owner.change(*[Create(path, b"1") for path in paths], Create("/mine", ephemeral=True), Create("/parent/c"))
        seen: list[str] = []
        owner.read(*[Get(path, seen.append) for path in ("/changed", "/same", "/deleted", "/replaced")])
        owner.read(Exists("/created", seen.append), Exists("/absent", seen.append))
        owner.read(*[Children(path, seen.append) for path in ("/parent", "/still", "/gone")])
        session = owner.store.session_id
        proxy.cut()
        owner.run_until(lambda: owner.saw(SUSPENDED))
        other.set("/changed", b"2")
        for path in ("/deleted", "/gone", "/replaced"):
            other.delete(path)
        other.create("/replaced", b"1")
        other.create("/created")
        other.create("/parent/d")
        late: list[Any] = []
        owner.store.read([Get("/changed")], lambda answer, error: late.append((answer[0].data, sorted(seen))))
        assert seen == [] and late == []
        proxy.mend()
        owner.run_until(lambda: late)
        assert owner.events == [CONNECTED, SUSPENDED, CONNECTED] and owner.store.session_id == session
        missed = ["/changed", "/created", "/deleted", "/gone", "/parent", "/replaced"]
        assert late == [(b"2", missed)]  # the watches came first
        assert owner.read(Exists("/mine"))[0].owner == session
        other.set("/same", b"2")
        other.create("/absent")
        other.create("/still/c")
        owner.run_until(lambda: len(seen) == 9)
        assert sorted(seen[6:]) == ["/absent", "/same", "/still"]
        counts = owner.zookeeper.session_counts
        assert (counts.state, counts.disconnects, counts.sync_connects, counts.expires) == ("CONNECTED", 1, 2, 0)


def test_a_lost_reply_is_an_unknown_outcome(one_zookeeper: Ensemble, chroot: str) -> None:
    with Proxy(one_zookeeper.servers[0].port) as proxy, Owner(f"127.0.0.1:{proxy.port}{chroot}") as owner:
        owner.change(Create("/a", b"0"))
        proxy.lose_replies_of.add(MULTI)
        seen: list[Any] = []
        owner.store.submit([Set("/a", b"1", 0)], lambda results, error: seen.append(type(error)))
        owner.store.read([Get("/a"), Get("/a")], lambda answer, error: seen.append(type(error)))
        owner.run_until(lambda: len(seen) == 2)
        assert seen == [OutcomeUnknown, ConnectionLost] and proxy.lost == 1
        # It was applied, which a read shows; it waits for the connection.
        assert (owner.read(Get("/a"))[0].data, owner.read(Get("/a"))[0].version) == (b"1", 1)


def test_when_the_session_ends_all_unanswered_requests_fail_and_the_next_session_is_empty(
    one_zookeeper: Ensemble, chroot: str
) -> None:
    with (
        Proxy(one_zookeeper.servers[0].port) as proxy,
        Owner(f"127.0.0.1:{proxy.port}{chroot}") as owner,
        one_zookeeper.client(chroot) as other,
    ):
        seen: list[Any] = []
        owner.change(Create("/a"), Create("/mine", ephemeral=True))
        owner.read(Get("/a", seen.append), Children("/", seen.append))
        session = owner.store.session_id
        one = client_id(owner)
        proxy.cut()
        owner.run_until(lambda: owner.saw(SUSPENDED))
        one_zookeeper.end_session(one)
        assert other.exists("/mine") is None
        owner.store.submit([Create("/of-the-old-session", ephemeral=True)], lambda _, error: seen.append(type(error)))
        owner.store.read([Exists("/a")], lambda _, error: seen.append(type(error)))
        owner.store.listen(lambda event: seen.append(event))
        proxy.mend()
        owner.run_until(lambda: owner.saw(CONNECTED))
        assert seen == [SessionExpired, SessionExpired, EXPIRED, CONNECTED]
        assert owner.store.session_id not in (0, session)
        owner.change(Set("/a", b""), Create("/mine", ephemeral=True))  # no watch fires
        assert owner.read(Get("/mine"), Exists("/of-the-old-session"))[0].owner == owner.store.session_id
        assert len(seen) == 4 and owner.zookeeper.session_counts.expires == 1
        assert owner.log.count("session in ZooKeeper has ended") == 1


def test_many_requests_of_an_ended_session_are_answered_in_slices(one_zookeeper: Ensemble, chroot: str) -> None:
    with Proxy(one_zookeeper.servers[0].port) as proxy, Owner(f"127.0.0.1:{proxy.port}{chroot}") as owner:
        owner.change(Create("/a"))
        one = client_id(owner)
        proxy.cut()
        owner.run_until(lambda: owner.saw(SUSPENDED))
        seen: list[Any] = []
        turns = [0]
        for _ in range(1000):
            owner.store.submit([Set("/a", b"")], lambda results, error: seen.append((turns[0], type(error))))
        owner.store.listen(lambda event: seen.append(event))
        one_zookeeper.end_session(one)
        proxy.mend()
        while CONNECTED not in seen:
            turns[0] += 1
            owner.run_one()
        assert seen[1000:] == [EXPIRED, CONNECTED] and {error for _, error in seen[:1000]} == {SessionExpired}
        in_turn = Counter(turn for turn, _ in seen[:1000])
        assert max(in_turn.values()) <= EVENTS_A_TURN and len(in_turn) >= 50


def test_requests_that_wait_are_limited(
    one_zookeeper: Ensemble, chroot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zookeeper_store, "WAITING_BYTES_MAX", 1 << 20)  # ZooKeeper would need 64 times as much memory
    with Proxy(one_zookeeper.servers[0].port) as proxy, Owner(f"127.0.0.1:{proxy.port}{chroot}") as owner:
        owner.change(Create("/a"))
        proxy.cut()
        owner.run_until(lambda: owner.saw(SUSPENDED))
        seen: list[Any] = []
        data = bytes(10_000)
        count = (1 << 20) // len(data) + 2
        for _ in range(count):
            owner.store.submit([Set("/a", data)], lambda results, error: seen.append(type(error)))
        owner.run_for(10)
        assert seen == []  # in order: those that wait are not answered yet
        proxy.mend()
        owner.run_until(lambda: len(seen) == count)
        assert seen[-1] is ConnectionLost and set(seen[:-4]) == {type(None)}
        assert owner.change(Set("/a", b""))


def test_one_large_call_waits_for_nothing_that_cannot_come(zookeeper_connect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is repeated when it gets ConnectionLost: for ever, if it alone were more than may wait."""
    monkeypatch.setattr(zookeeper_store, "WAITING_BYTES_MAX", 1 << 10)
    with Owner(zookeeper_connect) as owner:
        owner.change(Create("/a", b"data"))
        seen: list[Any] = []
        owner.store.read([Get("/a")] * 100, lambda answers, error: seen.append((answers, error)))
        owner.store.read([Get("/a")] * 100, lambda answers, error: seen.append((answers, error)))
        owner.run_until(lambda: len(seen) == 2)
        (first, no_error), (second, error) = seen
        assert len(first) == 100 and no_error is None and {node.data for node in first} == {b"data"}
        assert second is None and isinstance(error, ConnectionLost)


def test_the_store_ends_its_session_and_answers_everything(one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    seen: list[Any] = []
    with one_zookeeper.client() as other:
        owner = Owner(zookeeper_connect)
        owner.change(Create("/mine", ephemeral=True))
        for number in range(300):
            owner.store.submit([Create(f"/n{number}")], lambda results, error: seen.append(error))
        owner.store.close()
        assert seen == [None] * 300
        assert other.exists(f"{chroot}/mine") is None and len(other.get_children(chroot)) == 300
        owner.store.read([Exists("/")], lambda answer, error: seen.append(type(error)))
        owner.run_until(lambda: len(seen) == 301)
        assert seen[-1] is SessionExpired


def test_no_zookeeper_at_all() -> None:
    with Proxy(1) as proxy:
        proxy.cut()
        store = ZooKeeperStore(f"127.0.0.1:{proxy.port}", lambda function, *more: None, print, Log(), session_timeout_ms=1000)
        store.start()
        with pytest.raises(ConnectionLost, match="no connection to ZooKeeper at"):
            store.wait_for_connection(200)
        seen: list[Any] = []
        store.submit([Create("/a")], lambda results, error: seen.append(type(error)))
        store.close()
        assert seen == [SessionExpired]


def test_a_fault_in_kazoo_ends_the_session_and_a_new_one_begins(zookeeper_connect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Owner(zookeeper_connect) as owner:
        owner.change(Create("/a"))
        connection = owner.zookeeper._connection._client._connection
        monkeypatch.setattr(connection, "_read_response", lambda *_: 1 // 0)
        seen: list[Any] = []
        owner.store.submit([Set("/a", b"1")], lambda results, error: seen.append(type(error)))
        owner.store.submit([Create("/b")], lambda results, error: seen.append(type(error)))
        owner.run_until(lambda: owner.saw(EXPIRED, CONNECTED))
        assert set(seen) <= {OutcomeUnknown, SessionExpired} and seen[0] is OutcomeUnknown
        assert owner.read(Get("/a"))[0].data == b"1"


def test_a_session_that_ends_while_no_thread_can_start_is_told_and_the_next_one_begins_later(
    zookeeper_connect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zookeeper_store, "START_AGAIN_MS", 10)
    with Owner(zookeeper_connect) as owner:
        owner.change(Create("/a"))
        starts: list[Any] = []
        again = owner.zookeeper._start_again
        monkeypatch.setattr(owner.zookeeper, "_start_again", lambda: (starts.append(owner.events[-1]), again()))
        with monkeypatch.context() as patch:
            forbid_threads(patch)
            patch.setattr(owner.zookeeper._connection._client._connection, "_read_response", lambda *_: 1 // 0)
            owner.store.submit([Create("/b")], lambda results, error: None)
            owner.run_until(lambda: len(starts) > 3)
            assert set(starts) == {EXPIRED} and owner.events == [CONNECTED, EXPIRED] and owner.store.session_id == 0
        owner.run_until(lambda: owner.saw(EXPIRED, CONNECTED))
        owner.change(Set("/a", b"1"))
        assert owner.log.count("can be begun") == 1


def test_the_owner_hears_of_changes_in_order_while_the_session_ends_again_and_again(
    one_zookeeper: Ensemble, chroot: str
) -> None:
    """Sessions end while requests are under way: an ephemeral node is never made in a session that its owner does not know."""
    with Proxy(one_zookeeper.servers[0].port) as proxy, Owner(f"127.0.0.1:{proxy.port}{chroot}") as owner:
        owner.change(Create("/n"))
        answered: list[tuple[int, int, type]] = []
        for turn in range(6):
            session = owner.store.session_id
            ending = threading.Thread(target=one_zookeeper.end_session, args=(client_id(owner),))
            for number in range(40):
                key = (turn, number)
                owner.store.submit(
                    [Create(f"/n/{turn}-{number}", str(session).encode(), ephemeral=True)],
                    lambda results, error, key=key: answered.append((*key, type(error))),
                )
                if number == 20:
                    ending.start()
            proxy.cut()
            ending.join()
            proxy.mend()
            owner.run_until(lambda turn=turn: owner.events.count(EXPIRED) == turn + 1 and owner.saw(CONNECTED))
        owner.run_until(lambda: len(answered) == 240)
        assert [each[:2] for each in answered] == [(turn, number) for turn in range(6) for number in range(40)]
        assert {each[2] for each in answered} <= {type(None), OutcomeUnknown, SessionExpired}
        for name in owner.read(Children("/n"))[0]:
            node = owner.read(Get(f"/n/{name}"))[0]
            assert node.data == str(node.owner).encode()

"""Responses to members: each rule of classic groups, as in Apache Kafka 4.3.1."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.coordinator import heartbeat_table
from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.coordinator.classic.group_lines import ID_CHARS_MAX, MEMBERS_MAX, GroupLines
from kafka_cy.coordinator.classic.member import Member
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.log import StorageFailure

from .fakes import SUBSCRIPTION, Harness

OTHER = bytes.fromhex("000100000001000278780000000000000000")  # topic "xx"


def test_empty_group_id_is_invalid() -> None:
    harness = Harness()
    assert harness.join("")[0]["error_code"] == ErrorCode.INVALID_GROUP_ID
    assert harness.sync("m", 1, group="")[0]["error_code"] == ErrorCode.INVALID_GROUP_ID
    assert harness.heartbeat("m", 1, group="") == ErrorCode.INVALID_GROUP_ID
    assert harness.leave([("m", None)], group="")[0] == ErrorCode.INVALID_GROUP_ID
    assert harness.commit(group="") == 0, "a simple commit to the empty group works"


@pytest.mark.parametrize("session_ms", [999, 1_800_001])
def test_session_timeout_outside_the_limits(session_ms: int) -> None:
    harness = Harness()
    assert harness.join(session_ms=session_ms)[0]["error_code"] == ErrorCode.INVALID_SESSION_TIMEOUT
    assert not harness.written()


def test_no_protocols_or_no_type_is_inconsistent_but_creates_the_group() -> None:
    harness = Harness()
    assert harness.join(protocols=[])[0]["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert harness.join(kind="")[0]["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert len(harness.written()) == 1


def test_protocol_that_no_member_shares() -> None:
    harness = Harness()
    harness.stable()
    response = harness.join(protocols=[("other", b"")])[0]
    assert response["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert harness.join(kind="connect")[0]["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_old_clients_join_at_once_new_ones_get_an_id_first() -> None:
    harness = Harness()
    (refused,) = harness.join(known=True, client="me")
    assert refused["error_code"] == ErrorCode.MEMBER_ID_REQUIRED and refused["member_id"].startswith("me-")
    waiting = harness.join(member=refused["member_id"], known=True)
    assert not waiting and not harness.join(), "both wait for the initial delay"
    harness.loop.advance(2)
    assert waiting[0]["error_code"] == 0 and waiting[0]["member_id"] == refused["member_id"]


def test_pending_member_holds_the_join_phase_until_its_session_ends() -> None:
    harness = Harness()
    (member,), generation = harness.stable()
    (refused,) = harness.join(known=True, session_ms=5000)
    harness.join(protocols=[("range", OTHER)])
    waiting = harness.join(member=member)
    harness.loop.advance(4.9)
    assert not waiting
    harness.loop.advance(0.2)
    assert waiting[0]["generation_id"] == generation + 1
    assert harness.join(member=refused["member_id"])[0]["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID


def test_unknown_member_id_creates_no_group() -> None:
    harness = Harness()
    assert harness.join(member="x")[0]["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.group() is None and not harness.written()


def test_group_over_its_maximal_size() -> None:
    harness = Harness(group_max_size=2)
    harness.stable(2)
    assert harness.join()[0]["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    reloaded = harness.reload(group_max_size=1)
    assert reloaded.group().state.value == "PreparingRebalance"


def test_rejoin_with_the_same_metadata() -> None:
    harness = Harness()
    (leader, follower), generation = harness.stable(2)
    (response,) = harness.join(member=follower)
    assert (response["generation_id"], response["members"], response["leader"]) == (generation, [], leader)
    assert harness.group().state.value == "Stable"
    assert not harness.join(member=leader), "the leader's rejoin rebalances"
    assert harness.group().state.value == "PreparingRebalance"
    again = harness.join(member=follower)
    assert again[0]["generation_id"] == generation + 1
    (repeated,) = harness.join(member=leader)
    assert len(repeated["members"]) == 2, "CompletingRebalance: the leader gets the same response again"
    assert harness.join(member=follower)[0]["members"] == []


def test_changed_metadata_of_a_follower_rebalances() -> None:
    harness = Harness()
    (_, follower), _ = harness.stable(2)
    assert not harness.join(member=follower, protocols=[("range", OTHER)])
    assert harness.group().state.value == "PreparingRebalance"


def test_heartbeat_and_sync_errors() -> None:
    harness = Harness()
    (leader, follower), generation = harness.stable(2)
    assert harness.heartbeat(leader, generation) == 0
    assert harness.heartbeat(leader, generation + 1) == ErrorCode.ILLEGAL_GENERATION
    assert harness.heartbeat("x", generation) == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.heartbeat("x", generation, group="none") == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.sync(leader, generation + 1)[0]["error_code"] == ErrorCode.ILLEGAL_GENERATION
    assert harness.sync("x", generation)[0]["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.sync("x", 1, group="none")[0]["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    inconsistent = ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert harness.sync(leader, generation, protocol="sticky")[0]["error_code"] == inconsistent
    assert harness.sync(leader, generation, kind="connect")[0]["error_code"] == inconsistent
    assert harness.sync(leader, generation, kind="consumer", protocol="range")[0]["assignment"] == leader.encode()
    harness.join(member=leader)
    assert harness.heartbeat(follower, generation) == ErrorCode.REBALANCE_IN_PROGRESS
    assert harness.sync(follower, generation)[0]["error_code"] == ErrorCode.REBALANCE_IN_PROGRESS
    harness.join(member=follower)
    assert harness.heartbeat(follower, generation + 1) == 0, "CompletingRebalance"
    waiting = harness.sync(follower, generation + 1)
    assert not waiting
    harness.sync(leader, generation + 1, {leader: b"all"})
    assert waiting[0] == {"error_code": 0, "protocol_type": "consumer", "protocol_name": "range", "assignment": b""}


def test_a_join_while_completing_sends_waiting_followers_back() -> None:
    harness = Harness()
    first, second = harness.join(), harness.join()
    harness.loop.advance(3)
    follower = next(each[0] for each in (first, second) if each[0]["member_id"] != each[0]["leader"])
    waiting = harness.sync(follower["member_id"], 1)
    harness.join()
    assert waiting[0]["error_code"] == ErrorCode.REBALANCE_IN_PROGRESS


def test_leave_has_a_response_for_each_member() -> None:
    harness = Harness()
    (leader, follower), generation = harness.stable(2)
    error, responses = harness.leave([(follower, None), ("x", None), ("", "none"), (leader, "none")])
    assert not error and [each["error_code"] for each in responses] == [0, 25, 25, 25]
    assert harness.group().state.value == "PreparingRebalance"
    assert harness.heartbeat(leader, generation) == ErrorCode.REBALANCE_IN_PROGRESS
    assert harness.leave([("x", None)], group="none")[1][0]["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID


def test_laggards_are_removed_after_the_rebalance_timeout() -> None:
    harness = Harness()
    (leader, follower), generation = harness.stable(2, rebalance_ms=3000, session_ms=60_000)
    waiting = harness.join(member=follower, protocols=[("range", OTHER)], rebalance_ms=3000)
    harness.loop.advance(2.9)
    assert not waiting
    harness.loop.advance(0.2)
    assert waiting[0]["leader"] == follower and waiting[0]["generation_id"] == generation + 1
    assert harness.heartbeat(leader, generation) == ErrorCode.UNKNOWN_MEMBER_ID


def test_initial_delay_grows_with_new_members_up_to_the_rebalance_timeout() -> None:
    harness = Harness()
    start = harness.loop.now()
    waiting = [harness.join(rebalance_ms=3500)]
    while not waiting[0]:
        harness.loop.advance(0.5)
        waiting.append(harness.join(rebalance_ms=3500))
    assert 3.4 <= harness.loop.now() - start <= 4.1
    assert harness.group().generation == 1


def test_static_member_with_an_id_of_its_own_is_fenced_when_replaced() -> None:
    harness = Harness()
    joined = harness.join(instance="i")
    harness.loop.advance(2)
    old = joined[0]["member_id"]
    assert old.startswith("i-")
    waiting = harness.sync(old, 1, instance="i")
    assert waiting[0]["error_code"] == 0
    (new,) = harness.join(instance="i")
    for error in (
        harness.heartbeat(old, 1, instance="i"),
        harness.sync(old, 1, instance="i")[0]["error_code"],
        harness.join(member=old, instance="i")[0]["error_code"],
        harness.commit(member=old, generation=1, instance="i"),
        harness.leave([(old, "i")])[1][0]["error_code"],
    ):
        assert error == ErrorCode.FENCED_INSTANCE_ID
    assert harness.heartbeat(old, 1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.heartbeat(new["member_id"], 1, instance="other") == ErrorCode.UNKNOWN_MEMBER_ID
    assert harness.heartbeat(new["member_id"], 1, instance="i") == 0


def test_static_rejoin_below_v9_gets_the_old_leader_and_no_members() -> None:
    harness = Harness()
    joined = harness.join(instance="i")
    harness.loop.advance(2)
    old = joined[0]["member_id"]
    harness.sync(old, 1, {old: b"a"})
    (response,) = harness.join(instance="i", skip=False)
    assert (response["leader"], response["members"], response["skip_assignment"]) == (old, [], False)
    assert harness.sync(response["member_id"], 1)[0]["assignment"] == b"a"


def test_static_rejoin_while_completing_rebalances_and_fences_the_waiting() -> None:
    harness = Harness()
    first, second = harness.join(instance="a"), harness.join(instance="b")
    harness.loop.advance(3)
    follower = next(each[0] for each in (first, second) if each[0]["member_id"] != each[0]["leader"])
    waiting = harness.sync(follower["member_id"], 1)
    instance = follower["member_id"][0]
    replacing = harness.join(instance=instance)
    assert waiting[0]["error_code"] == ErrorCode.FENCED_INSTANCE_ID
    assert not replacing and harness.group().state.value == "PreparingRebalance"


def test_static_member_stays_when_it_does_not_rejoin_in_time() -> None:
    harness = Harness()
    waiting = [harness.join(instance=name, rebalance_ms=2000, session_ms=60_000) for name in "ab"]
    harness.loop.advance(2.01)
    one, two = (each[0]["member_id"] for each in waiting)
    leader = waiting[0][0]["leader"]
    harness.sync(two if leader == one else one, 1)
    harness.sync(leader, 1)
    other = two if leader == one else one
    rejoined = harness.join(member=leader, instance=leader[0], rebalance_ms=2000)
    harness.loop.advance(2.1)
    assert rejoined[0]["generation_id"] == 2 and other in harness.group().members


def test_stamps_of_the_data_plane_keep_a_member_alive() -> None:
    harness = Harness()
    (member,), generation = harness.stable(session_ms=5000)
    for _ in range(5):
        harness.loop.advance(4)
        now_ns = int(harness.loop.now() * 1e9)
        assert heartbeat_table.stamp(b"g", member.encode(), None, generation, now_ns)
    assert harness.group().members
    harness.loop.advance(5.1)
    assert not harness.group().members and heartbeat_table.count() == 0


def test_reactors_respond_to_no_heartbeat_while_a_group_prepares() -> None:
    harness = Harness()
    (leader, follower), generation = harness.stable(2)
    assert heartbeat_table.stamp(b"g", follower.encode(), None, generation, 1)
    assert not heartbeat_table.stamp(b"g", follower.encode(), None, generation + 1, 1)
    assert not heartbeat_table.stamp(b"g", follower.encode(), b"instance", generation, 1)
    harness.join(member=leader)
    assert not heartbeat_table.stamp(b"g", follower.encode(), None, generation, 1)


def test_describe_list_and_delete() -> None:
    harness = Harness()
    (member,), _ = harness.stable()
    harness.commit(group="simple")
    described = harness.describe()
    assert (described["group_state"], described["protocol_type"], described["protocol_data"]) == (
        "Stable", "consumer", "range",
    )  # fmt: skip
    assert described["members"] == [
        {
            "member_id": member, "group_instance_id": None, "client_id": "c", "client_host": "/127.0.0.1",
            "member_metadata": SUBSCRIPTION, "member_assignment": member.encode(),
        }
    ]  # fmt: skip
    unknown = harness.describe("none")
    assert (unknown["error_code"], unknown["group_state"]) == (ErrorCode.GROUP_ID_NOT_FOUND, "Dead")
    assert harness.describe("none", version=5)["error_code"] == 0
    assert {each["group_id"] for each in harness.coordinator.list_groups([], [])[1]} == {"g", "simple"}
    assert [each["group_id"] for each in harness.coordinator.list_groups(["STABLE"], ["Classic"])[1]] == ["g"]
    assert not harness.coordinator.list_groups([], ["consumer"])[1]
    assert harness.delete_group("g") == ErrorCode.NON_EMPTY_GROUP
    assert harness.delete_group("none") == ErrorCode.GROUP_ID_NOT_FOUND
    harness.leave([(member, None)])
    assert harness.delete_group("g") == 0 and harness.group() is None
    assert harness.written()[-1][1] is None


def test_a_failed_append_is_an_error_and_changes_nothing() -> None:
    harness = Harness()
    (member,), generation = harness.stable()
    partition = harness.cluster.hosted[harness.partition_index()]
    partition.failing = StorageFailure("Input/output error", 2, 5)
    assert harness.commit(member=member, generation=generation) == ErrorCode.NOT_COORDINATOR
    assert not harness.group().offsets
    partition.failing = None
    harness.join(member=member)
    harness.loop.advance(1)
    partition.failing = StorageFailure("Input/output error", 2, 5)
    assert harness.sync(member, generation + 1, {member: b"x"})[0]["error_code"] == ErrorCode.NOT_COORDINATOR


def test_partition_that_is_not_hosted() -> None:
    harness = Harness()
    (member, other), generation = harness.stable(2)
    waiting = harness.join(member=other, protocols=[("range", OTHER)])
    index = harness.partition_index()
    assert not waiting
    del harness.cluster.hosted[index]
    harness.coordinator.runtime.unload(index)
    assert waiting[0]["error_code"] == ErrorCode.NOT_COORDINATOR
    assert harness.join()[0]["error_code"] == ErrorCode.NOT_COORDINATOR
    assert harness.commit() == ErrorCode.NOT_COORDINATOR
    assert harness.heartbeat(member, generation) == ErrorCode.NOT_COORDINATOR
    assert not heartbeat_table.stamp(b"g", member.encode(), None, generation, 1)


def test_ten_thousand_groups_cost_one_timer_each_at_most() -> None:
    harness = Harness()
    before = harness.loop.pending
    for number in range(10_000):
        harness.commit(group=f"simple-{number}")
    assert harness.loop.pending == before
    (_,), _ = harness.stable()
    assert harness.loop.pending == before + 1


LONG = "i" * 32_731  # with "-" and a UUID, one byte more than a string in a record or a response can have


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    "request_fields",
    [
        {"client": LONG},
        {"client": "\ufffd" * 11_000},
        {"instance": LONG},
        {"kind": "\ufffd" * 11_000},
        {"protocols": [("range", SUBSCRIPTION), ("\ufffd" * 11_000, b"")]},
    ],
    ids=["client id", "client id in UTF-8", "instance id", "protocol type", "protocol name"],
)
def test_a_join_that_cannot_be_stored_changes_nothing(known: bool, request_fields: dict[str, Any]) -> None:
    harness = Harness()
    (refused,) = harness.join(known=known, **request_fields)
    assert (refused["error_code"], refused["member_id"]) == (ErrorCode.UNKNOWN_SERVER_ERROR, "")
    assert harness.group() is None and not harness.written() and heartbeat_table.count() == 0
    (member,), generation = harness.stable()
    (refused,) = harness.join(known=known, **request_fields)
    assert refused["error_code"] == ErrorCode.UNKNOWN_SERVER_ERROR
    assert harness.heartbeat(member, generation) == 0, "no rebalance has begun"
    assert list(harness.group().members) == [member] and not harness.group().pending_members


def test_the_longest_ids_that_can_be_stored_work() -> None:
    harness = Harness()
    (member,), generation = harness.stable(client=LONG[:-1])
    assert heartbeat_table.stamp(b"g", member.encode(), None, generation, 1)
    assert harness.reload().group().members[member].client_id == LONG[:-1]


def test_the_log_tells_the_story_of_a_group() -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    def take() -> list[str]:
        lines = [
            " ".join([what, *(f"{key}={value}" for key, value in details.items() if key not in ("member", "leader"))])
            for what, details in told
        ]
        told.clear()
        return lines

    harness = Harness()
    harness.coordinator.rebalancer.lines = GroupLines(lambda what, **details: told.append((what, details)))
    (_, follower), generation = harness.stable(2, session_ms=10_000, rebalance_ms=3000)
    client = "client_id=c client=127.0.0.1"
    lines = take()
    assert lines[0] == f"group rebalances group=g generation=0 members=1 reason=a member joined {client}"
    assert lines[-1] == f"group is stable group=g generation={generation} members=2 protocol=range"
    harness.join(member=follower, protocols=[("range", OTHER)], rebalance_ms=3000)
    assert take() == [
        f"group rebalances group=g generation={generation} members=2 reason=a member joined again {client}"
    ]
    harness.loop.advance(3.1)  # the leader does not join again
    assert take() == [f"member was removed group=g reason=no JoinGroup within the rebalance timeout {client}"]
    harness.sync(follower, generation + 1, {follower: b"x"})
    assert take() == [f"group is stable group=g generation={generation + 1} members=1 protocol=range"]
    harness.loop.advance(10.1)
    assert take() == [
        f"member was removed group=g reason=session expired {client}",
        f"group rebalances group=g generation={generation + 1} members=0 reason=the session of a member expired {client}",
        f"group is empty group=g generation={generation + 2}",
    ]


def test_the_log_has_few_lines_for_many_lost_members_and_short_ids() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    group = ClassicGroup("g" * 30_000)
    members = [Member("g", f"{i}" * 20_000, None, "c" * 20_000, "/10.0.0.1", 1, 1, [], 0.0) for i in range(1000)]
    GroupLines(lambda what, **details: told.append((what, details))).lost(group, "session expired", members)
    assert len(told) == MEMBERS_MAX + 1 and told[-1][1]["count"] == 1000 - MEMBERS_MAX
    assert all(len(str(value)) <= ID_CHARS_MAX for _, details in told for value in details.values())


def test_a_rebalance_timeout_of_zero_is_no_loop() -> None:
    """Only a static member is left, and does not join again: it is looked for once a second."""
    harness = Harness()
    joins = harness.join(instance="i", rebalance_ms=0, session_ms=1_800_000), harness.join(session_ms=1_800_000)
    harness.loop.advance(5)
    [first], [second] = joins
    generation, leader = first["generation_id"], first["leader"]
    parts = {first["member_id"]: b"x", second["member_id"]: b"y"}
    for member in sorted(parts, key=lambda each: each == leader):
        harness.sync(member, generation, parts if member == leader else {})
    harness.leave([(second["member_id"], None)])
    assert harness.group().in_state(GroupState.PREPARING_REBALANCE)
    turns = 0
    while harness.loop.timers and harness.loop.timers[0][0] <= harness.loop.time_s and turns < 1000:
        harness.loop.run_next()
        turns += 1
    assert turns < 10
    harness.loop.advance(10)
    assert harness.group().in_state(GroupState.PREPARING_REBALANCE)

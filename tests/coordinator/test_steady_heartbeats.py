"""Heartbeats of share groups and streams groups that reactors respond to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.authorizer.acls import ResourceType
from kafka_cy.coordinator import heartbeat_table, open_groups
from kafka_cy.coordinator.streams.records import Endpoint
from kafka_cy.protocol.errors import ErrorCode
from tests.api_hot.acls import READ, TOPIC, Acls

from .direct_heartbeats import DirectGroups, DirectShareGroups, DirectStreamsGroups
from .streams_fakes import STATEFUL, statuses


@pytest.fixture(params=[DirectShareGroups, DirectStreamsGroups])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DirectGroups]:
    found = request.param(tmp_path)
    yield found
    found.direct.stop()


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[DirectStreamsGroups]:
    found = DirectStreamsGroups(tmp_path)
    yield found
    found.direct.stop()


def test_a_reactor_responds_to_a_settled_member(groups: DirectGroups) -> None:
    epoch = groups.settled("m1")
    by_reactor = groups.by_reactor("m1", epoch)
    expected = groups.by_coordinator("m1", epoch)
    assert by_reactor is not None and {key: by_reactor[key] for key in expected} == expected
    assert expected["error_code"] == 0 and expected["member_epoch"] == epoch


def test_what_says_something_is_forwarded(groups: DirectGroups) -> None:
    epoch = groups.settled("m1")
    for fields in groups.SAID:
        assert groups.by_reactor("m1", epoch, **fields) is None, fields
    for member, number in [("m1", epoch - 1), ("m1", epoch + 1), ("m1", 0), ("m1", -1), ("m2", epoch)]:
        assert groups.by_reactor(member, number) is None
    assert groups.by_reactor("m1", epoch, group="h") is None and groups.by_reactor("m1", epoch, group="g" * 70_000) is None
    assert groups.by_reactor("m1", epoch) is not None


def test_another_api_is_forwarded(groups: DirectGroups) -> None:
    """The coordinator says that the group is of another kind."""
    epoch = groups.settled("m1")
    client_id = groups.CLIENT
    others: dict[int, tuple[int, dict[str, Any]]] = {
        68: (1, dict.fromkeys(("subscribed_topic_names", "topic_partitions"))),
        76: (1, {}),
        88: (0, DirectStreamsGroups.NOTHING),
    }
    for api_key, (version, fields) in others.items():
        values = {"group_id": "g", "member_id": "m1", "member_epoch": epoch, **fields}
        assert (groups.direct.ask(api_key, version, values, client_id) is not None) == (api_key == groups.API_KEY)


def test_a_change_is_looked_at_by_the_coordinator(groups: DirectGroups) -> None:
    epoch = groups.settled("m1", "m2")
    on_change = groups.harness.coordinator.on_change
    on_change(SimpleNamespace())  # a configuration
    assert not groups.beat("m1", epoch)[1] and groups.beat("m1", epoch)[1] and groups.beat("m2", epoch)[1]
    groups.change_topics()
    response, is_direct = groups.beat("m1", epoch)
    assert not is_direct and groups.harness.group("g").epoch > epoch
    groups.settled("m1", "m2")
    epoch = groups.harness.group("g").epoch
    groups.harness.beat("g", "m2", -1)
    assert groups.members() == {"m1"}
    response, is_direct = groups.beat("m1", epoch)
    assert not is_direct and response["error_code"] == 0


def test_of_a_broker_with_an_authorizer(groups: DirectGroups) -> None:
    """A right that is revoked is gone from the next heartbeat on: who answers it then tells the denial."""
    epoch = groups.settled("m1")
    acls = Acls(groups.direct.server)
    acls.allow(READ, "*", TOPIC)
    for _ in range(2):
        assert groups.by_reactor("m1", epoch) is None
        acls.allow(READ, "g", ResourceType.GROUP)
        assert groups.by_reactor("m1", epoch) is not None
        acls.revoke("g", ResourceType.GROUP)
    assert groups.by_reactor("m1", epoch) is None
    assert groups.direct.server.server.take_denials(10) == ([], 0)


def test_sessions_go_on(groups: DirectGroups) -> None:
    """A member that only reactors have heard of stays, one that is silent goes, and so does the first one afterwards."""
    loop = groups.harness.loop
    loop.time_s -= 10  # the coordinator's clock is behind: what reactors hear is ten seconds younger
    epoch = groups.settled("m1", "m2")
    groups.by_coordinator("m1", epoch)
    groups.by_coordinator("m2", epoch)
    assert groups.beat("m1", epoch)[1]
    loop.advance(46)
    assert groups.members() == {"m1"}
    assert heartbeat_table.count() == 1, "m2 is forgotten"
    loop.advance(30)
    assert not groups.members()
    assert heartbeat_table.count() == 0


def test_the_table_ends_with_the_group(groups: DirectGroups) -> None:
    epoch = groups.settled("m1")
    groups.harness.coordinator.runtime.unload(0)
    assert groups.by_reactor("m1", epoch) is None
    groups.direct.settle()
    assert heartbeat_table.count() == 0 and open_groups.count() == 0


def test_a_new_start_asks_the_coordinator_first(groups: DirectGroups) -> None:
    epoch = groups.settled("m1")
    assert groups.beat("m1", epoch)[1]
    groups.harness.coordinator.runtime.shards[0].state.restart("g")  # after a fault
    assert groups.by_reactor("m1", epoch) is not None, "the door is opened by what is done next"
    groups.harness.coordinator.runtime.read("g", lambda state: None, lambda error, response: None)
    assert groups.by_reactor("m1", epoch) is None
    assert not groups.beat("m1", epoch)[1]


# -- streams groups --


def test_all_members_hear_that_the_application_ends(streams: DirectStreamsGroups) -> None:
    epoch = streams.settled("m1", "m2")
    response = streams.harness.beat("g", "m2", epoch, shutdown_application=True)
    assert statuses(response) == [4]
    for _ in range(2):
        response, is_direct = streams.beat("m1", epoch)
        assert not is_direct and statuses(response) == [4]


def test_members_of_a_group_that_is_not_ready_hear_why(streams: DirectStreamsGroups) -> None:
    streams.harness.refused = {"g-changelog": "refused"}
    epoch = streams.harness.join_streams("g", "m1", STATEFUL)["member_epoch"]
    for _ in range(4):
        streams.harness.loop.advance(1.1)
        response, is_direct = streams.beat("m1", epoch)
        assert not is_direct and statuses(response) == [3]
        epoch = response["member_epoch"]


def test_endpoints_are_told_by_the_coordinator(streams: DirectStreamsGroups) -> None:
    """A member that begins anew changes nothing that is stored, but what the others have to know."""
    endpoint = Endpoint("h", 1)
    streams.harness.join_streams("g", "m1", endpoint=endpoint)
    epoch = streams.settled("m2")
    while not streams.harness.group("g").members["m1"].is_reconciled_to(streams.harness.group("g").epoch):
        streams.acknowledge("m1", streams.harness.group("g").members["m1"].member_epoch, "g")
        epoch = streams.acknowledge("m2", epoch, "g")
        streams.harness.loop.advance(1.1)
    group = streams.harness.group("g")
    known = group.endpoint_epoch
    streams.harness.beat("g", "m1", epoch, endpoint_epoch=known)
    streams.harness.beat("g", "m2", epoch, endpoint_epoch=known)
    assert known > 0
    assert streams.by_reactor("m2", epoch, endpoint_information_epoch=known) is not None
    assert streams.by_reactor("m2", epoch, endpoint_information_epoch=known - 1) is None
    records = len(streams.direct.batches())
    streams.harness.join_streams("g", "m1", endpoint=endpoint)
    assert group.endpoint_epoch > known and len(streams.direct.batches()) == records
    assert streams.by_reactor("m2", epoch, endpoint_information_epoch=known) is None


def test_standby_tasks_that_are_wanted_are_assigned(streams: DirectStreamsGroups) -> None:
    epoch = streams.settled("m1")
    streams.harness.cluster.configs["groups", "g"] = {"streams.num.standby.replicas": "1"}
    streams.harness.coordinator.on_change(SimpleNamespace())
    assert not streams.beat("m1", epoch)[1] and streams.harness.group("g").epoch == epoch + 1


def test_commits_of_streams_members_go_on(streams: DirectStreamsGroups) -> None:
    epoch = streams.settled("m1")
    fields: dict[str, Any] = {"member": "m1", "generation": epoch}
    assert streams.direct.commit(**fields) == (ErrorCode.NONE, True)
    assert streams.direct.commit(**fields, version=8) == (ErrorCode.UNSUPPORTED_VERSION, False)
    assert streams.by_reactor("m1", epoch) is not None


def test_members_of_share_groups_do_not_commit(tmp_path: Path) -> None:
    groups = DirectShareGroups(tmp_path)
    try:
        epoch = groups.settled("m1")
        assert groups.direct.directly([("ct", 0, 5)], member="m1", generation=epoch) is None
    finally:
        groups.direct.stop()

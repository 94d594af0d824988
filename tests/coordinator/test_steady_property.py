"""Heartbeats through reactors between everything else: a reactor says what the coordinator would say, and nothing would be stored.

Members of consumer groups (one of them static, one with a regular expression), share groups and streams groups.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.coordinator import heartbeat_table, open_groups

from .direct_heartbeats import DirectConsumerGroups, DirectGroups, DirectShareGroups, DirectStreamsGroups

MEMBERS = ("m1", "m2", "m3")
CONFIGS = {
    DirectConsumerGroups: ("consumer.heartbeat.interval.ms", ("5000", "6000")),
    DirectShareGroups: ("share.heartbeat.interval.ms", ("5000", "6000")),
    DirectStreamsGroups: ("streams.num.standby.replicas", ("0", "1")),
}

who = st.sampled_from(MEMBERS)
steps = st.one_of(
    st.tuples(st.just("join"), who),
    st.tuples(st.just("acknowledge"), who),
    st.tuples(st.just("acknowledge"), who),
    st.tuples(st.just("beat"), who),
    st.tuples(st.just("beat"), who),
    st.tuples(st.just("settle")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("leave"), who),
    st.tuples(st.just("shut_down"), who),
    st.tuples(st.just("grow")),
    st.tuples(st.just("configure"), st.integers(0, 1)),
    st.tuples(st.just("load_again")),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 1.1, 1.1, 11.0])),
)


class Life:
    def __init__(self, groups: DirectGroups) -> None:
        self.groups = groups
        self.harness = groups.harness
        self.reactor_responses = 0

    def epoch_of(self, member: str) -> int:
        group = self.harness.group("g")
        found = getattr(group, "members", {}).get(member)
        return 0 if found is None else max(found.member_epoch, 0)

    # -- steps --

    def join(self, member: str) -> None:
        self.groups.join(member)

    def acknowledge(self, member: str) -> None:
        if epoch := self.epoch_of(member):
            self.groups.acknowledge(member, epoch, "g")

    def beat(self, member: str) -> None:
        if epoch := self.epoch_of(member):
            self.harness.beat("g", member, epoch, **self.known())

    def settle(self) -> None:
        """All members get what they are assigned."""
        for _ in range(3):
            self.harness.loop.advance(1.1)
            for member in MEMBERS:
                self.acknowledge(member)
        for member in MEMBERS:
            self.beat(member)

    def leave(self, member: str) -> None:
        if epoch := self.epoch_of(member):
            self.harness.beat("g", member, -1)
            assert not self.epoch_of(member) and self.groups.by_reactor(member, epoch) is None

    def shut_down(self, member: str) -> None:
        epoch = self.epoch_of(member)
        if epoch and isinstance(self.groups, DirectStreamsGroups):
            self.harness.beat("g", member, epoch, shutdown_application=True)

    def grow(self) -> None:
        self.groups.change_topics()

    def configure(self, value: int) -> None:
        key, values = CONFIGS[type(self.groups)]
        self.harness.cluster.configs["groups", "g"] = {key: values[value]}
        self.harness.coordinator.on_change(SimpleNamespace())

    def load_again(self) -> None:
        self.harness.coordinator.runtime.unload(0, reload=True)

    def wait(self, seconds: float) -> None:
        self.harness.loop.advance(seconds)

    # -- what always holds --

    def known(self, name: str = "endpoint_epoch") -> dict[str, Any]:
        """What every heartbeat of a streams group says."""
        group = self.harness.group("g")
        return {name: group.endpoint_epoch} if isinstance(self.groups, DirectStreamsGroups) and group else {}

    def check(self) -> None:
        for member in MEMBERS:
            epoch = self.epoch_of(member)
            asked = self.known("endpoint_information_epoch")
            by_reactor = self.groups.by_reactor(member, epoch, **asked) if epoch else None
            if by_reactor is None:
                continue
            self.reactor_responses += 1
            batches = self.groups.direct.batches()
            with patch.object(type(self.heartbeats), self.groups.QUIET, lambda *_: 0):
                response = self.harness.beat("g", member, epoch, **self.known())
            assert {key: by_reactor[key] for key in response} == response
            assert self.groups.direct.batches() == batches

    @property
    def heartbeats(self) -> Any:
        coordinator, kind = self.harness.coordinator, self.harness.group("g").kind
        return getattr(coordinator, kind).heartbeats


@pytest.mark.parametrize("kind", [DirectConsumerGroups, DirectShareGroups, DirectStreamsGroups])
@given(operations=st.lists(steps, min_size=10, max_size=40))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_reactors_say_what_the_coordinator_would_say(kind: Any, operations: list[tuple[Any, ...]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        groups = kind(folder)
        try:
            life = Life(groups)
            for step in operations:
                getattr(life, step[0])(*step[1:])
                groups.direct.settle()
                life.check()
        finally:
            groups.direct.stop()
        assert open_groups.count() == 0 and heartbeat_table.count() == 0
    finally:
        shutil.rmtree(folder)

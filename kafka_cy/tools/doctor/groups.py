"""Consumer groups that make no progress: nobody reads, or members do not commit."""

from __future__ import annotations

import time
from typing import Any

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.doctor.check import OK, WARN, Check
from kafka_cy.tools.group_kinds import listed_groups
from kafka_cy.tools.group_offsets import committed_offsets, log_offsets
from kafka_cy.tools.groups import NEWER_KINDS, described, state_name

GROUPS_MAX = 100
REBALANCING = ("PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling")
Offsets = dict[tuple[str, int], int]


def check_groups(admin: Any, bootstrap_servers: str, watch_s: float) -> list[Check]:
    """Look at each group; a group with members and lag is looked at again after `watch_s` seconds. Raises ToolError."""
    from confluent_kafka.admin import OffsetSpec

    states = [(each.group, each.state) for each in listed_groups(bootstrap_servers) if each.type not in NEWER_KINDS]
    checks: list[Check] = []
    watched: dict[str, Offsets] = {}
    for name, state in states[:GROUPS_MAX]:
        committed = committed_offsets(admin, bootstrap_servers, name)
        ends = log_offsets(admin, sorted(committed), OffsetSpec.latest())
        lag = sum(max(0, end - committed[place]) for place, end in ends.items())
        if state == "Empty" and lag:
            text = f"{name} has no active members, and a lag of {lag:,} records"
            remedy = f"start its consumers, or delete it: kafka-cy groups delete {name}"
            checks.append(Check(WARN, "groups", text, remedy))
        elif lag or state in REBALANCING:
            watched[name] = committed
    if watched:
        time.sleep(watch_s)
    for name, before in watched.items():
        checks += _watched_again(admin, bootstrap_servers, name, before, watch_s)
    if len(states) > GROUPS_MAX:
        checks.append(Check(OK, "groups", f"{len(states) - GROUPS_MAX:,} more groups were not looked at"))
    return checks or [Check(OK, "groups", f"no group is without progress (groups: {len(states):,})")]


def _watched_again(admin: Any, bootstrap_servers: str, name: str, before: Offsets, watch_s: float) -> list[Check]:
    try:
        state = state_name(described(admin, name).state)
    except ToolError:
        return []  # it was deleted meanwhile
    if state in REBALANCING:
        text = f"{name} is rebalancing for {watch_s:g} s or again"
        remedy = "members come and go, or process longer than max.poll.interval.ms; the broker's log names the reasons"
        return [Check(WARN, "groups", text, remedy)]
    if state == "Stable" and committed_offsets(admin, bootstrap_servers, name) == before:
        text = f"{name} has members and lag, but committed nothing within {watch_s:g} s"
        remedy = "look at its consumers: they are stuck, or commit rarely (auto.commit.interval.ms)"
        return [Check(WARN, "groups", text, remedy)]
    return []

"""The output of `kafka-cy server --adopt --preview`: what would be taken over, and what would not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kafka_cy.cluster.imported_folders import AdoptedTopic, Adoption

Effective = Callable[[Mapping[str, str]], Mapping[str, Any]]  # a topic's settings as texts -> all of them, typed


def report_lines(adoption: Adoption, effective: Effective, *, settings_are_new: bool) -> list[str]:
    """Return the report's lines. `settings_are_new`: whether settings other than those of topics are stored, too."""
    lines = [f"settings from: {adoption.origin}", f"cluster id: {adoption.cluster_id or '(a new one)'}"]
    lines += _section("topics", [line for topic in adoption.topics for line in _topic_lines(topic, effective)])
    title = "settings" if settings_are_new else "settings that were taken over before and remain unchanged"
    lines += _section(title, adoption.settings)
    if any(path.startswith("/kafka-acl") or b'"SCRAM-' in data for path, data in adoption.nodes.items()):
        lines.append("  ACLs and SCRAM credentials are taken over; ACLs apply if authorizer.class.name is set.")
    if adoption.next_producer_id:
        lines.append(f"producer ids: from {adoption.next_producer_id} on")
    lines += _section("not taken over", adoption.left_alone)
    if adoption.obstacles:
        lines += _section("PROBLEMS TO SOLVE FIRST (nothing is taken over until then)", adoption.obstacles)
    return lines


def _section(title: str, entries: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {entry}" for entry in entries)] if entries else [f"{title}: none"]


def topic_line(topic: AdoptedTopic, effective: Effective) -> str:
    """Return the topic's line, with the settings that decide what is removed."""
    config = effective(topic.configs)
    policy = ",".join(config["cleanup.policy"]) or "none"
    removal = f"cleanup.policy={policy} retention.ms={config['retention.ms']} retention.bytes={config['retention.bytes']}"
    count = len(topic.leader_epochs)
    return f"{topic.name}: {count} partition{'s' if count > 1 else ''}, {removal}"


def remarks_of(topic: AdoptedTopic, effective: Effective) -> list[str]:
    """Return what an operator must know about a topic before it is taken over."""
    remarks = list(topic.remarks)
    min_isr = effective(topic.configs)["min.insync.replicas"]
    if min_isr > 1:
        remarks.append(f"min.insync.replicas={min_isr}: with one replica, acks=all is refused until this setting is 1")
    return remarks


def _topic_lines(topic: AdoptedTopic, effective: Effective) -> list[str]:
    settings = " ".join(f"{name}={text}" for name, text in sorted(topic.configs.items()))
    lines = [topic_line(topic, effective), f"  id {topic.id}, topic settings: {settings or 'none'}"]
    return lines + [f"  ! {remark}" for remark in remarks_of(topic, effective)]

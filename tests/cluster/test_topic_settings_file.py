"""Settings of topics from the output of kafka-topics.sh --describe, or written by hand."""

from __future__ import annotations

import pytest

from kafka_cy.cluster.topic_settings_file import BadSettingsFile, DescribedTopic, read_topic_settings

DESCRIBED = """\
OpenJDK 64-Bit Server VM warning: something
Topic: a\tTopicId: Kh9LgtPESfilixv0tOr\tPartitionCount: 2\tConfigs: cleanup.policy=compact,delete,retention.ms=-1
\tTopic: a\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr:\x20
\tTopic: a\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1
Topic: b\tPartitionCount: 1\tReplicationFactor: 3\tConfigs: leader.replication.throttled.replicas=0:1,1:2,flush.ms=7
Topic: c\tPartitionCount: 1\tReplicationFactor: 3\tConfigs:\x20

Topic: by-hand Configs: cleanup.policy=compact
Topic: bare
"""


def test_kafkas_output_and_lines_written_by_hand() -> None:
    assert read_topic_settings(DESCRIBED.splitlines(keepends=True)) == {
        "a": DescribedTopic(2, {"cleanup.policy": "compact,delete", "retention.ms": "-1"}),
        "b": DescribedTopic(1, {"leader.replication.throttled.replicas": "0:1,1:2", "flush.ms": "7"}),
        "c": DescribedTopic(1, {}),
        "by-hand": DescribedTopic(None, {"cleanup.policy": "compact"}),
        "bare": DescribedTopic(None, {}),
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no line that starts with 'Topic:'"),
        ("Topic: a\nTopic: a", "line 2 describes topic a a second time"),
        ("Topic: a PartitionCount: 0", "0 is not a number of partitions"),
        ("Topic: a PartitionCount: two", "two is not a number of partitions"),
        ("Topic: a Configs: compact", "line 1: 'compact' is not KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(BadSettingsFile, match=why):
        read_topic_settings(text.splitlines())

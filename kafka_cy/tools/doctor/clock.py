"""Whether the broker's clock agrees with this machine's, and whether records carry times of the future."""

from __future__ import annotations

import email.utils
import http.client
import time
import urllib.request
from typing import Any

from kafka_cy.tools.doctor.check import OK, WARN, Check, shortened
from kafka_cy.tools.group_offsets import partitions_of
from kafka_cy.tools.http_text import without_user

DIFFERENCE_MAX_S = 5.0
PARTITIONS_MAX = 500
SYNCHRONIZE = "synchronize the clocks (timedatectl, chrony): retention, and consumers that seek by time, rely on them"


def check_clock(metrics_url: str) -> list[Check]:
    """Compare with the Date header of the broker's metrics port. Empty if nothing answers there, or without a date."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(without_user(metrics_url).replace("/metrics", "/ready"), timeout=5) as answer:
            date = answer.headers["Date"]
            now = time.time()
        parsed = email.utils.parsedate_to_datetime(date or "")
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return []
    difference = parsed.timestamp() + 0.5 - now  # the header has whole seconds
    if abs(difference) <= DIFFERENCE_MAX_S:
        return [Check(OK, "clock", "the broker's clock agrees with this machine's")]
    ahead = "ahead of" if difference > 0 else "behind"
    return [Check(WARN, "clock", f"the broker's clock is {abs(difference):,.0f} s {ahead} this machine's", SYNCHRONIZE)]


def check_record_times(admin: Any, metadata: Any) -> list[Check]:
    """Records from the future: retention by time keeps them too long."""
    from confluent_kafka import KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    topics = tuple(name for name in sorted(metadata.topics) if not name.startswith("__"))
    places = partitions_of(admin, topics)[:PARTITIONS_MAX]
    if not places:
        return []
    newest = {TopicPartition(topic, index): OffsetSpec.max_timestamp() for topic, index in places}
    future = []
    for place, answer in admin.list_offsets(newest).items():
        try:
            ahead_s = answer.result(15).timestamp / 1000 - time.time()
        except KafkaException:  # a broker older than Kafka 3.0, or a deleted topic
            continue
        if ahead_s > 60:
            future.append(f"{place.topic}-{place.partition} ({ahead_s:,.0f} s)")
    if not future:
        return [Check(OK, "record times", "no record is newer than now")]
    text = f"the newest record is of the future: {shortened(future)}"
    return [Check(WARN, "record times", text, f"a producer's clock or timestamps are wrong; {SYNCHRONIZE}")]

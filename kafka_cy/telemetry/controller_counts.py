"""What the metrics tell of the controller of a cluster: KafkaController and ControllerStats in Kafka."""

from __future__ import annotations

from typing import NamedTuple


class ControllerCounts(NamedTuple):
    """As of now, 0 while this broker is not the controller; the elections since the start."""

    active: int = 1  # 1: this broker is the controller
    brokers: int = 1  # registered
    topics_to_delete: int = 0
    replicas_to_delete: int = 0
    ineligible_topics: int = 0
    ineligible_replicas: int = 0
    elections: int = 0
    unclean_elections: int = 0


BY_ITSELF = ControllerCounts()  # of a broker that is a cluster by itself

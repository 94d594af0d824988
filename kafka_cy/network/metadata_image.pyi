"""The metadata that reactors read: built by the control plane, published by swapping one pointer."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kafka_cy.authorizer.acl_image import AclImage
from kafka_cy.network.server import Server
from kafka_cy.storage.hosted_partition import HostedPartition

class TopicMetadata(NamedTuple):
    name: str
    topic_id: bytes
    internal: bool
    partitions: list[
        tuple[int, int, int, Sequence[int], Sequence[int], Sequence[int], HostedPartition | None]
    ]

class ImagePublisher:
    def __init__(self, server: Server) -> None: ...
    def set_brokers(
        self,
        cluster_id: str,
        broker_id: int,
        controller_id: int,
        brokers: Iterable[tuple[int, str | None, Sequence[tuple[str, int] | None]]],
    ) -> None: ...
    def set_topics(self, changed: Iterable[TopicMetadata], removed: Iterable[str]) -> None: ...
    def set_acls(self, acls: AclImage | None) -> None: ...
    def publish_acls(self, acls: AclImage) -> None: ...
    def publish(self) -> None: ...
    def retired_count(self) -> int: ...

"""A broker without network and storage: its configuration and metadata are real, its partitions only count offsets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import cold_handler
from kafka_cy.api.topic_creation import TopicRefused, create_all_on_demand
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.metadata_cache import MetadataCache, TopicsChanged
from kafka_cy.cluster.producer_ids import ProducerIdBlocks, ProducerIds
from kafka_cy.cluster.quorum import Quorum
from kafka_cy.config import BrokerConfig
from kafka_cy.protocol.bridge import decode_request, encode_response, unknown_fields
from kafka_cy.protocol.encoder import entity_writer
from kafka_cy.protocol.schema import message_class
from kafka_cy.server.log import BrokerLog

CLUSTER_ID = "abcdefghijklmnopqrstuv"


class FakePartition:
    """A partition that has only offsets."""

    state = 0

    def __init__(self) -> None:
        self.log_start_offset, self.high_watermark = 0, 10

    def delete_records(self, offset: int) -> None:
        """Advance the log start offset."""
        self.log_start_offset = offset

    def low_watermark(self) -> int | None:
        """There are no followers."""
        return self.log_start_offset


class FakeLogs:
    """Follows the metadata like Hosting."""

    def __init__(self, cluster: MetadataCache) -> None:
        self.partitions: dict[tuple[str, int], Any] = {}
        self.log_dirs = ["/logs"]
        self._cluster = cluster
        cluster.logs = self
        cluster.add_listener(self.on_change)

    def config_of(self, topic: str) -> dict[str, Any]:
        """What is stored, as far as handlers ask for it."""
        return {"cleanup.policy": self._cluster.topic_config(topic).get("cleanup.policy", "delete").split(",")}

    def on_change(self, change: Any) -> None:
        """Host new partitions and drop removed ones."""
        if isinstance(change, TopicsChanged):
            for topic in change.removed:
                for partition in topic.partitions:
                    self.partitions.pop((topic.name, partition.index), None)
            for topic in change.changed:
                for partition in topic.partitions:
                    self.partitions.setdefault((topic.name, partition.index), FakePartition())


class FakeControl:
    """Records how the request ended."""

    is_question = False
    connection_closed = False
    principal: str | None = None
    token_authenticated = False

    def __init__(self) -> None:
        self.payload: bytes | None = None
        self.reason: str | None = None

    def begin(self) -> None:
        """The handler begins."""

    def handled(self) -> None:
        """The handler returned."""

    def release_body(self) -> None:
        """The body was decoded."""

    def throttle(self, throttle_ms: int) -> None:
        """The client is throttled."""

    def respond(self, payload: bytes, errors: dict[int, int] | None = None) -> None:
        """Answered."""
        self.payload = payload

    def close(self, reason: str) -> None:
        """Closed."""
        self.reason = reason


class Unlimited:
    """Quotas that limit nothing."""

    def take_mutations(self, user: str | None, client_id: str | None, permits: float, strict: bool) -> tuple[bool, int]:
        """Allowed."""
        return True, 0


class AllAtOnce:
    """Runs long tasks without other requests in between."""

    def add(self, steps: Iterable[object], done: Callable[[], object]) -> None:
        """See Slices."""
        for _ in steps:
            pass
        done()


class KeptRequest(Request):
    """A request that keeps the responses that a handler gives later."""

    __slots__ = ("responses",)

    def respond(self, response: Mapping[str, Any]) -> None:
        """Answered."""
        self.responses.append(response)


def make_context(overrides: dict[str, str] | None = None) -> ApiContext:
    """A broker with id 1 at localhost:9092."""
    config = BrokerConfig.load(None, overrides or {})
    metadata = ClusterMetadata(EmbeddedStore(None), 1, lambda: 0)
    metadata.load(CLUSTER_ID)
    metadata.register_broker([("PLAINTEXT", "PLAINTEXT", "localhost", 9092)], None)
    none: Any = None

    def create_topics(names: Sequence[str], request: Request[Any], done: Callable[[], object]) -> None:
        with contextlib.suppress(TopicRefused):
            for _ in create_all_on_demand(metadata.cache, metadata.topic_changes, config, names, []):
                pass
        done()

    return ApiContext(
        config=config,
        cluster=metadata.cache,
        topic_changes=metadata.topic_changes,
        config_changes=metadata.config_changes,
        feature_changes=metadata.feature_changes,
        quotas=Unlimited(),
        quorum=lambda: Quorum(1, metadata.store.changes, UUID(int=1)),
        logs=FakeLogs(metadata.cache),
        groups=none,
        transactions=none,
        share=none,
        producer_ids=ProducerIds(ProducerIdBlocks(metadata.store, 1).reserve),
        delete_waits=none,
        loop=none,
        slices=AllAtOnce(),
        broker_id=1,
        cluster_id=CLUSTER_ID,
        advertised=[("localhost", 9092)],
        log=BrokerLog("error"),
        client_telemetry=none,
        create_topics=create_topics,
    )


def start(
    context: ApiContext, api_key: int, version: int, body: dict[str, Any] | bytes, handle: Any = None, authorizer: Any = None,
    user: str | None = None, **more: Any,
) -> KeptRequest:  # fmt: skip
    """Send a request, encoded in this version; `responses` has what the handler has answered so far. `more`: see Request."""
    raw = bytearray()
    if isinstance(body, bytes):
        raw += body
    else:
        entity_writer(message_class(api_key, version, "request"))(raw, body)
    request = KeptRequest(
        api_key=api_key,
        api_version=version,
        correlation_id=1,
        client_id="test",
        client_host="127.0.0.1",
        listener_index=0,
        connection_id=1,
        body=decode_request(api_key, version, bytes(raw)),
        control=FakeControl(),
        authorizer=authorizer,
        user=user,
        **{"body_size": len(raw), **more},
    )
    request.responses = []
    handle = handle or cold_handler(api_key)
    assert handle is not None
    answer = handle(request, context)
    if answer is not None:
        request.responses.append(answer)
    return request


def call(context: ApiContext, api_key: int, version: int, body: dict[str, Any], *, may_close: bool = False) -> Any:
    """Send a request, encoded in this version; return the handler's response, which has been encoded once.

    `may_close`: return None if the handler closes the connection.
    """
    request = start(context, api_key, version, body)
    if may_close and request.control.reason is not None:  # type: ignore[attr-defined]
        return None
    answer = request.responses[0]
    assert unknown_fields(api_key, answer) == []
    encode_response(api_key, version, answer)
    return dict(answer)

"""Which metrics each client pushes (KIP-714): subscriptions, and the state of each client instance.

Follows Kafka's ClientMetricsManager, with three differences: clients must send cumulative values (delta temporality
is off), so that a pushed value is a counter already; a client whose codec was refused may ask again at once, as it
does, while Kafka makes it wait; and an instance is forgotten when it expires, while Kafka forgets it as soon as its
connection closes.
"""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records.crc32c import checksum

INSTANCES_MAX = 16384  # as Kafka; the least recently active one is evicted
EXPIRY_S_MIN = 60.0
EXPIRY_INTERVALS = 3
EXPIRY_CHECK_S = 10.0
INTERVAL_MS_DEFAULT = 300_000
ALL_METRICS = "*"
ACCEPTED_CODECS = (4, 3, 1, 2)  # zstd, lz4, gzip, snappy: Java takes the first
CODEC_MAX = 4
ENTITY_TYPE = "client-metrics"


class Client(NamedTuple):
    """The requesting client; the fields are the selectors of a subscription's `match`."""

    client_instance_id: str
    client_id: str
    client_software_name: str
    client_software_version: str
    client_source_address: str
    client_source_port: str


class Subscription(NamedTuple):
    """A subscription as stored in the configuration resource."""

    metrics: tuple[str, ...]
    interval_ms: int
    match: tuple[tuple[str, re.Pattern[str]], ...]

    def matches(self, client: Client) -> bool:
        """Whether every pattern matches the whole of its value."""
        return all(pattern.fullmatch(getattr(client, selector)) for selector, pattern in self.match)


def parse_subscription(settings: Mapping[str, str]) -> Subscription:
    """Parse settings that were validated when they were stored."""
    match = []
    for entry in _split(settings.get("match", "")):
        selector, _, pattern = entry.rstrip("=").partition("=")
        match.append((selector.strip(), re.compile(pattern.strip())))
    interval_ms = int(settings.get("interval.ms", INTERVAL_MS_DEFAULT))
    return Subscription(tuple(_split(settings.get("metrics", ""))), interval_ms, tuple(match))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Instance:
    """One client instance. Times are monotonic seconds, 0 before the first request of that kind."""

    __slots__ = (
        "before_push", "client", "get_s", "interval_ms", "last_error", "metrics", "push_s", "seen_s", "subscription_id",
        "terminating", "version",
    )  # fmt: skip

    def __init__(self, client: Client, version: int, metrics: list[str], interval_ms: int, subscription_id: int) -> None:
        self.client = client
        self.version = version
        self.metrics = metrics
        self.interval_ms = interval_ms
        self.subscription_id = subscription_id
        self.get_s = 0.0
        self.push_s = 0.0
        self.seen_s = 0.0
        self.terminating = False
        self.last_error = ErrorCode.NONE
        self.before_push = (0.0, ErrorCode.NONE)  # `push_s` and `last_error` before the last push

    @property
    def expiry_s(self) -> float:
        """How long an inactive instance is remembered."""
        return max(EXPIRY_S_MIN, EXPIRY_INTERVALS * self.interval_ms / 1000)

    def may_get(self, now_s: float) -> bool:
        """False within the interval after the last request, unless a refused push requires the client to ask again."""
        last_s = max(self.get_s, self.push_s)
        again = self.last_error in (ErrorCode.UNKNOWN_SUBSCRIPTION_ID, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
        if last_s and not again and now_s - last_s < self.interval_ms / 1000:
            return False
        self.get_s = now_s
        return True

    def may_push(self, now_s: float) -> bool:
        """The first push after a Get is allowed at any time, later ones once per interval."""
        if self.push_s and self.get_s <= self.push_s and now_s - self.push_s < self.interval_ms / 1000:
            return False
        self.push_s = now_s
        return True

    def take_back_push(self) -> None:
        """The last push was allowed but not accepted: the client may send it again at once."""
        self.push_s, self.last_error = self.before_push
        self.terminating = False


class ClientSubscriptions:
    """Owner: the thread of `loop`."""

    def __init__(
        self, cluster: Any, loop: Any, telemetry_bytes_max: int, on_expired: Callable[[Iterable[str]], object]
    ) -> None:
        """`on_expired` is called with the ids of expired instances."""
        self._cluster = cluster
        self._loop = loop
        self.telemetry_bytes_max = telemetry_bytes_max
        self._on_expired = on_expired
        self._subscriptions: dict[str, Subscription] | None = None  # None: not read yet
        self._version = 0
        self._timer: Any = None
        self.instances: OrderedDict[uuid.UUID, Instance] = OrderedDict()  # most recently active last
        self.unknown_subscription_requests = 0
        self.throttled_requests = 0
        cluster.add_listener(lambda change: loop.call_soon_threadsafe(self._on_change, change))

    def _on_change(self, change: Any) -> None:
        if getattr(change, "entity_type", "") == ENTITY_TYPE:
            self._subscriptions = None
            self._version += 1

    @property
    def subscriptions(self) -> dict[str, Subscription]:
        """Subscriptions by name; one without settings does not exist."""
        if self._subscriptions is None:
            stored = {name: self._cluster.config(ENTITY_TYPE, name) for name in self._cluster.config_entities(ENTITY_TYPE)}
            self._subscriptions = {name: parse_subscription(settings) for name, settings in stored.items() if settings}
        return self._subscriptions

    # -- requests --

    def get(self, instance_id: uuid.UUID | None, client: Client) -> tuple[ErrorCode, uuid.UUID, Instance | None]:
        """Handle GetTelemetrySubscriptions (`client.client_instance_id` is empty). Without an id, makes a new one."""
        instance_id = instance_id or new_instance_id()
        instance = self._instance(instance_id, client)
        if instance.terminating:
            return ErrorCode.INVALID_REQUEST, instance_id, None
        if not instance.may_get(self._loop.now()):
            self.throttled_requests += 1
            return ErrorCode.THROTTLING_QUOTA_EXCEEDED, instance_id, None
        instance.last_error = ErrorCode.NONE
        return ErrorCode.NONE, instance_id, instance

    def check_push(
        self, instance_id: uuid.UUID | None, client: Client, subscription_id: int, terminating: bool, codec: int, size: int
    ) -> tuple[ErrorCode, Instance | None]:
        """(error or NONE for a PushTelemetry, the instance that pushed)."""
        if instance_id is None or is_reserved(instance_id):
            return ErrorCode.INVALID_REQUEST, None
        instance = self._instance(instance_id, client)
        if instance.terminating:
            return ErrorCode.INVALID_REQUEST, instance
        instance.before_push = (instance.push_s, instance.last_error)
        if not instance.may_push(self._loop.now()) and not terminating:
            self.throttled_requests += 1
            return ErrorCode.THROTTLING_QUOTA_EXCEEDED, instance
        instance.last_error = self._refusal(instance, subscription_id, codec, size)
        if not instance.last_error:
            instance.terminating = terminating
        return instance.last_error, instance

    def _refusal(self, instance: Instance, subscription_id: int, codec: int, size: int) -> ErrorCode:
        if subscription_id != instance.subscription_id:
            self.unknown_subscription_requests += 1
            return ErrorCode.UNKNOWN_SUBSCRIPTION_ID
        if not 0 <= codec <= CODEC_MAX:
            return ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
        if size > self.telemetry_bytes_max:
            return ErrorCode.TELEMETRY_TOO_LARGE
        return ErrorCode.NONE

    # -- instances --

    def _instance(self, instance_id: uuid.UUID, client: Client) -> Instance:
        """The known instance, or a new one if it is unknown or the subscriptions have changed since."""
        instance = self.instances.get(instance_id)
        if instance is None or (instance.version != self._version and not instance.terminating):
            client = client._replace(client_instance_id=id_text(instance_id))
            metrics, interval_ms = self._subscribed(client)
            number = subscription_number(metrics, interval_ms, instance_id)
            instance = self.instances[instance_id] = Instance(client, self._version, metrics, interval_ms, number)
            if len(self.instances) > INSTANCES_MAX:
                _, oldest = self.instances.popitem(last=False)
                self._on_expired([oldest.client.client_instance_id])
            if self._timer is None:
                self._timer = self._loop.repeat(EXPIRY_CHECK_S, self._expire)
        instance.seen_s = self._loop.now()
        self.instances.move_to_end(instance_id)
        return instance

    def _subscribed(self, client: Client) -> tuple[list[str], int]:
        """(metrics of all matching subscriptions, their shortest interval)."""
        metrics: dict[str, None] = {}
        interval_ms = INTERVAL_MS_DEFAULT
        for subscription in self.subscriptions.values():
            if subscription.matches(client):
                metrics.update(dict.fromkeys(subscription.metrics))
                interval_ms = min(interval_ms, subscription.interval_ms)
        return [ALL_METRICS] if ALL_METRICS in metrics else list(metrics), interval_ms

    def _expire(self) -> None:
        now_s = self._loop.now()
        gone = [key for key, each in self.instances.items() if now_s - each.seen_s >= each.expiry_s]
        self._on_expired([self.instances.pop(key).client.client_instance_id for key in gone])
        if not self.instances and self._timer is not None:
            self._timer.cancel()
            self._timer = None


def is_reserved(instance_id: uuid.UUID) -> bool:
    """Whether Kafka reserves the id: zero and one."""
    return instance_id.int < 2


def new_instance_id() -> uuid.UUID:
    """A random id whose text does not begin with a dash, as in Kafka."""
    while True:
        made = uuid.uuid4()
        if not id_text(made).startswith("-"):
            return made


def id_text(instance_id: uuid.UUID) -> str:
    """The id as Kafka prints a Uuid: base64url without padding."""
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(instance_id.bytes).decode().rstrip("=")


def subscription_number(metrics: list[str], interval_ms: int, instance_id: uuid.UUID) -> int:
    """Kafka's SubscriptionId, a signed int32 that changes with the subscribed metrics."""
    mixed = (instance_id.int >> 64) ^ (instance_id.int & 0xFFFFFFFFFFFFFFFF)
    number = checksum(f"[{', '.join(metrics)}]{interval_ms}".encode()) ^ (mixed >> 32) ^ (mixed & 0xFFFFFFFF)
    return number - (1 << 32) if number & 0x80000000 else number

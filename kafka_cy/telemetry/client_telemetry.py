"""KIP-714: subscriptions on the control thread, and a thread that decompresses and parses clients' pushes."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Callable
from typing import Any

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.telemetry.client_metrics import ClientMetrics
from kafka_cy.telemetry.client_subscriptions import ACCEPTED_CODECS, Client, ClientSubscriptions
from kafka_cy.telemetry.exposition import Family

# Longer client ids are truncated to this before they are kept, matched and shown.
CLIENT_ID_CHARS_MAX = 256
# Limit of the decompressed size of a push, as a multiple of telemetry.max.bytes.
UNPACKED_TIMES_MAX = 2
# Limit of the protobuf fields in a push. A data point has some 30. The parser holds the GIL, for about 80 ns a field.
FIELDS_MAX = 100_000
# Limit of the pushes queued for the thread; clients must retry further ones.
WAITING_MAX = 64
CODEC_NAMES = ("none", "gzip", "snappy", "lz4", "zstd")

Push = tuple[Client, int, bytes, Callable[[ErrorCode], object]]
Export = Callable[[Client, bytes], object]  # the second argument is an encoded MetricsData of opentelemetry-proto


class ClientTelemetry:
    """Owner: the control thread. Lives as long as the broker; its thread starts with the first push."""

    def __init__(
        self, cluster: Any, loop: Any, telemetry_bytes_max: int, on_error: Callable[[Exception], object]
    ) -> None:
        """`on_error` is called on the control thread if an internal error prevents reading a push."""
        self.metrics = ClientMetrics()
        self.subscriptions = ClientSubscriptions(cluster, loop, telemetry_bytes_max, self.metrics.forget)
        self.exports: list[Export] = []  # further consumers of a push, called on the receiver's thread
        self.pushes = 0
        self.refused_pushes = 0
        self._loop = loop
        self._on_error = on_error
        self._unpacked_bytes_max = telemetry_bytes_max * UNPACKED_TIMES_MAX
        self._waiting: queue.Queue[Push] = queue.Queue(WAITING_MAX)
        self._thread: NamedThread | None = None

    @property
    def accepted_codecs(self) -> tuple[int, ...]:
        """Codecs in the order in which clients should prefer them."""
        return ACCEPTED_CODECS

    def client_of(self, request: Any) -> Client:
        """The sender of the request, without its instance id."""
        name, version = request.client_software
        client_id, port = (request.client_id or "")[:CLIENT_ID_CHARS_MAX], str(request.control.client_port)
        return Client("", client_id, name, version, request.client_host, port)

    def receive(self, client: Client, codec: int, data: bytes, done: Callable[[ErrorCode], object]) -> bool:
        """Read one push that was already checked; `done` is called on the control thread.

        False: nothing will happen, because too many pushes wait, or because the thread cannot start.
        """
        if self._thread is None:
            thread = NamedThread(target=self._work, name="client-metrics", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._on_error(error)
                return False
            self._thread = thread
        try:
            self._waiting.put_nowait((client, codec, data, done))
        except queue.Full:
            return False
        return True

    def stop(self) -> None:
        """Drop the pushes that wait: their requests close their connections. The loop has ended."""
        while True:
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                return

    def forget_unknown(self, instance_id: uuid.UUID, client: Client) -> None:
        """Drop the series of an instance that expired while its push was read. Thread: the owner's."""
        if instance_id not in self.subscriptions.instances:
            self.metrics.forget([client.client_instance_id])

    def families(self) -> list[Family]:
        """For /metrics: clients' pushes, and metrics about them (Kafka's group `client-metrics`, without instances)."""
        subscriptions = self.subscriptions
        name = "kafka_server_client_metrics"
        own: list[tuple[str, str, int]] = [
            ("instance_count", "Client instances that are known", len(subscriptions.instances)),
            ("unknown_subscription_request_count", "Pushes for an old subscription", subscriptions.unknown_subscription_requests),
            ("throttle_count", "Requests that came too early", subscriptions.throttled_requests),
            ("plugin_export_count", "Pushes that were read", self.pushes),
            ("plugin_error_count", "Pushes that could not be read", self.refused_pushes),
        ]
        families: list[Family] = [(f"{name}_{key}", "gauge", text, [f" {value}"]) for key, text, value in own]
        return families + self.metrics.families()

    def _work(self) -> None:
        while True:
            client, codec, data, done = self._waiting.get()
            error = self._take(client, codec, data)
            self.pushes += 1
            self.refused_pushes += error is not ErrorCode.NONE
            self._loop.call_soon_threadsafe(done, error)

    def _take(self, client: Client, codec: int, data: bytes) -> ErrorCode:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

        from kafka_cy.records.api import decompress
        from kafka_cy.records.errors import BatchErrorCode, InvalidBatch
        from kafka_cy.telemetry.protobuf_fields import count_fields

        try:
            unpacked = decompress(data, CODEC_NAMES[codec], size_max=self._unpacked_bytes_max)
            if count_fields(unpacked, FIELDS_MAX) > FIELDS_MAX:
                return ErrorCode.TELEMETRY_TOO_LARGE
            self.metrics.put(client, MetricsData.FromString(unpacked))
            for export in self.exports:
                export(client, unpacked)
        except InvalidBatch as error:
            too_large = error.code is BatchErrorCode.UNPACKS_TOO_LARGE
            return ErrorCode.TELEMETRY_TOO_LARGE if too_large else ErrorCode.INVALID_RECORD
        except DecodeError:
            return ErrorCode.INVALID_RECORD
        except Exception as error:  # noqa: BLE001 a failed push must not end the thread
            self._loop.call_soon_threadsafe(self._on_error, error)
            return ErrorCode.INVALID_RECORD
        return ErrorCode.NONE

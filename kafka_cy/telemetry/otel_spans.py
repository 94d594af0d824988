"""Encodes traced requests as OpenTelemetry spans.

Each produced or fetched batch makes one span in the trace of its first record (W3C traceparent), so that a
producer's, the broker's and a consumer's spans form one trace. Without a traceparent a produce request starts one, and
the fetches of the batch join it. Every other request is a span of its own.

The SDK takes 80 us to encode a span, nearly the whole cost of tracing. So it encodes each shape of span once, and that
message is filled in for every further span of the shape, in a seventh of the time.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind

if TYPE_CHECKING:
    from kafka_cy.network.trace_reader import TracedBatch, TracedRequest

BatchKey = tuple[str, int, int]
Shape = dict[str, str | int | float]  # a span's attributes by name

PRODUCE, FETCH = 0, 1
# Number of batches whose produce span is remembered for their fetches.
REMEMBERED_MAX = 10_000

# Span attributes, in the order in which they are filled in.
REQUEST_ATTRIBUTES: Shape = {
    "messaging.client.id": "",
    "client.address": "",
    "kafka.api.version": 0,
    "kafkacy.request_queue_ms": 0.0,
    "kafkacy.local_ms": 0.0,
    "kafkacy.remote_ms": 0.0,
    "kafkacy.response_queue_ms": 0.0,
}
BATCH_ATTRIBUTES: Shape = {
    **REQUEST_ATTRIBUTES,
    "messaging.system": "kafka",
    "messaging.destination.name": "",
    "messaging.destination.partition.id": "",
    "messaging.kafka.offset": 0,
}
# Appended last: the record count of a batch is not known where it is fetched.
APPENDED_ATTRIBUTES = {**BATCH_ATTRIBUTES, "messaging.batch.message_count": 0}


class Context(NamedTuple):
    """A span's place in its trace, as in OTLP. `is_remote`: the context came from a client."""

    trace_id: bytes
    span_id: bytes
    is_remote: bool


class SpanMaker:
    """Owner: the export thread."""

    def __init__(self, resource: Resource, request_names: Mapping[int, str]) -> None:
        self._request_names = request_names
        self._produced: OrderedDict[BatchKey, Context] = OrderedDict()
        self._request = _template(resource, REQUEST_ATTRIBUTES)
        self._batch = _template(resource, BATCH_ATTRIBUTES)
        self._appended = _template(resource, APPENDED_ATTRIBUTES)
        self._without_spans = _encoded(resource, REQUEST_ATTRIBUTES)
        del _spans(self._without_spans)[:]

    def spans(self, requests: Iterable[TracedRequest]) -> list[Span]:
        """The spans of requests. Produce spans come first: a consumer may get its response before the producer does."""
        found = []
        for request in sorted(requests, key=lambda request: request.api_key != PRODUCE):
            if not request.batches:
                found.append(_span(self._request, request, self._name(request), None, _new_context(None)))
            for batch in request.batches:
                found.append(self._batch_span(request, batch))
        return found

    def message(self, spans: Sequence[Span]) -> ExportTraceServiceRequest:
        """The message to the collector: `spans` under the resource."""
        message = ExportTraceServiceRequest()
        message.CopyFrom(self._without_spans)
        _spans(message).extend(spans)
        return message

    def _name(self, request: TracedRequest) -> str:
        return self._request_names.get(request.api_key, str(request.api_key))

    def _batch_span(self, request: TracedRequest, batch: TracedBatch) -> Span:
        key = batch.topic, batch.partition, batch.offset
        parent = parse_traceparent(batch.traceparent)
        if request.api_key == FETCH:
            parent = self._produced.get(key, parent)
        context = _new_context(parent)
        if request.api_key == PRODUCE:
            self._produced[key] = context
            if len(self._produced) > REMEMBERED_MAX:
                self._produced.popitem(last=False)
        template = self._appended if batch.records else self._batch
        span = _span(template, request, f"{self._name(request)} {batch.topic}", parent, context)
        values = (attribute.value for attribute in span.attributes[len(REQUEST_ATTRIBUTES) :])
        _, topic, partition, offset, *records = values
        topic.string_value = batch.topic
        partition.string_value = str(batch.partition)
        offset.int_value = batch.offset
        if records:
            records[0].int_value = batch.records
        return span


def _encoded(resource: Resource, attributes: Shape) -> ExportTraceServiceRequest:
    """An export request with one span of the shape of `attributes`, encoded by the SDK."""
    shape = ReadableSpan(
        name="",
        context=SpanContext(1, 1, is_remote=False),
        resource=resource,
        attributes=attributes,
        kind=SpanKind.SERVER,
        instrumentation_scope=InstrumentationScope("kafka_cy"),
    )
    return encode_spans([shape])


def _template(resource: Resource, attributes: Shape) -> bytes:
    encoded: bytes = _spans(_encoded(resource, attributes))[0].SerializeToString()
    return encoded


def _spans(message: ExportTraceServiceRequest) -> MutableSequence[Span]:
    spans: MutableSequence[Span] = message.resource_spans[0].scope_spans[0].spans
    return spans


def _span(template: bytes, request: TracedRequest, name: str, parent: Context | None, context: Context) -> Span:
    span: Span = Span.FromString(template)
    span.name = name
    span.trace_id = context.trace_id
    span.span_id = context.span_id
    if parent is not None:
        span.parent_span_id = parent.span_id
        if parent.is_remote:
            span.flags |= SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    span.start_time_unix_nano = request.received_ns
    span.end_time_unix_nano = request.sent_ns
    values = [attribute.value for attribute in span.attributes[: len(REQUEST_ATTRIBUTES)]]
    client_id, address, version, request_queue_ms, local_ms, remote_ms, response_queue_ms = values
    client_id.string_value = request.client_id
    address.string_value = request.client_host
    version.int_value = request.api_version
    request_queue_ms.double_value = (request.begun_ns - request.received_ns) / 1e6
    local_ms.double_value = (request.handled_ns - request.begun_ns) / 1e6
    remote_ms.double_value = (request.answered_ns - request.handled_ns) / 1e6
    response_queue_ms.double_value = (request.sent_ns - request.answered_ns) / 1e6
    return span


def _new_context(parent: Context | None) -> Context:
    trace_id = parent.trace_id if parent is not None else (random.getrandbits(128) or 1).to_bytes(16, "big")
    return Context(trace_id, (random.getrandbits(64) or 1).to_bytes(8, "big"), is_remote=False)


def parse_traceparent(text: str) -> Context | None:
    """The context of a W3C `traceparent` header (level 1); None if the header is invalid."""
    parts = text.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    if parts[0] == "ff" or (parts[0] == "00" and len(parts) != 4) or text != text.lower():
        return None
    try:
        version, trace_id, span_id, flags = (bytes.fromhex(part) for part in parts[:4])
    except ValueError:
        return None
    if [len(version), len(trace_id), len(span_id), len(flags)] != [1, 16, 8, 1]:
        return None  # spaces among the digits
    if not any(trace_id) or not any(span_id):
        return None
    return Context(trace_id, span_id, is_remote=True)

"""Traced requests as OpenTelemetry spans.

A batch that was produced or fetched makes one span in the trace of its first record (W3C traceparent), so that a
producer's, the broker's and a consumer's spans are one trace. Without a traceparent a produce request begins a trace, and
the fetches of the batch join it. Other requests are spans of their own.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

if TYPE_CHECKING:
    from kafka_cy.network.trace_reader import TracedBatch, TracedRequest

PRODUCE, FETCH = 0, 1
# Batches whose produce span is remembered for their fetches.
REMEMBERED_MAX = 10_000
SAMPLED = TraceFlags(TraceFlags.SAMPLED)

BatchKey = tuple[str, int, int]


class SpanMaker:
    """Owner: the export thread."""

    def __init__(self, resource: Resource, request_names: Mapping[int, str]) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("kafka_cy")
        self._request_names = request_names
        self._produced: OrderedDict[BatchKey, SpanContext] = OrderedDict()

    def spans(self, requests: Iterable[TracedRequest]) -> list[ReadableSpan]:
        """The spans of requests; a consumer may have its answer before the producer, so what was produced comes first."""
        found = []
        for request in sorted(requests, key=lambda request: request.api_key != PRODUCE):
            if not request.batches:
                found.append(self._span(request, self._name(request), None, _new_context(None), {}))
            for batch in request.batches:
                found.append(self._batch_span(request, batch))
        return found

    def _name(self, request: TracedRequest) -> str:
        return self._request_names.get(request.api_key, str(request.api_key))

    def _batch_span(self, request: TracedRequest, batch: TracedBatch) -> ReadableSpan:
        key = batch.topic, batch.partition, batch.offset
        parent = parse_traceparent(batch.traceparent)
        if request.api_key == FETCH:
            parent = self._produced.get(key, parent)
        context = _new_context(parent)
        if request.api_key == PRODUCE:
            self._produced[key] = context
            if len(self._produced) > REMEMBERED_MAX:
                self._produced.popitem(last=False)
        attributes: dict[str, Any] = {
            "messaging.system": "kafka",
            "messaging.destination.name": batch.topic,
            "messaging.destination.partition.id": str(batch.partition),
            "messaging.kafka.offset": batch.offset,
        }
        if batch.records:
            attributes["messaging.batch.message_count"] = batch.records
        return self._span(request, f"{self._name(request)} {batch.topic}", parent, context, attributes)

    def _span(
        self, request: TracedRequest, name: str, parent: SpanContext | None, context: SpanContext, extra: dict[str, Any]
    ) -> ReadableSpan:
        # Few: encoding them is most of what a span costs.
        attributes = {
            "messaging.client.id": request.client_id,
            "client.address": request.client_host,
            "kafka.api.version": request.api_version,
            "kafkacy.request_queue_ms": (request.begun_ns - request.received_ns) / 1e6,
            "kafkacy.local_ms": (request.handled_ns - request.begun_ns) / 1e6,
            "kafkacy.remote_ms": (request.answered_ns - request.handled_ns) / 1e6,
            "kafkacy.response_queue_ms": (request.sent_ns - request.answered_ns) / 1e6,
            **extra,
        }
        return ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.SERVER,
            start_time=request.received_ns,
            end_time=request.sent_ns,
            instrumentation_scope=self._scope,
        )


def _new_context(parent: SpanContext | None) -> SpanContext:
    trace_id = parent.trace_id if parent is not None else random.getrandbits(128) or 1
    return SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False, trace_flags=SAMPLED)


def parse_traceparent(text: str) -> SpanContext | None:
    """The context of a W3C `traceparent` header (level 1); None when it is not one."""
    parts = text.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    if parts[0] == "ff" or (parts[0] == "00" and len(parts) != 4) or text != text.lower():
        return None
    try:
        int(parts[0], 16)
        trace_id, span_id, flags = (int(part, 16) for part in parts[1:4])
    except ValueError:
        return None
    if trace_id == 0 or span_id == 0:
        return None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 1))

"""The control plane's interface to Kafka's messages: decodes requests to entities, encodes dicts to responses.

Everything is loaded per (API key, version) at first use, so that the broker starts without importing any message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka_cy.protocol.decoder import ELEMENTS_MAX, Cursor, MalformedRequest, TooManyElements, entity_reader
from kafka_cy.protocol.encoder import Output, entity_writer
from kafka_cy.protocol.schema import entity_fields, message_class, versions

__all__ = ["MalformedRequest", "TooManyElements", "decode_request", "encode_response", "unknown_fields"]


def decode_request(api_key: int, version: int, body: bytes, elements_max: int = ELEMENTS_MAX) -> Any:
    """Return the kio request entity in `body` (without header).

    Raises MalformedRequest for truncated bytes and false lengths, and TooManyElements (which is one, too) for more than
    `elements_max` array elements. As in
    Kafka, bytes after the message are ignored and invalid UTF-8 in a string is read as U+FFFD.
    """
    return entity_reader(message_class(api_key, version, "request"))(Cursor(body, elements_max=elements_max))


def encode_response(
    api_key: int, version: int, answer: Mapping[str, Any], errors: dict[int, int] | None = None
) -> bytes:
    """Return the bytes of a response (without header) in the given version; `errors` receives the error code counts.

    Raises ResponseTooLarge.
    """
    written: list[int] = []
    out = Output(written)
    entity_writer(message_class(api_key, version, "response"))(out, answer)
    if errors is not None:
        errors.update({code: written.count(code) for code in set(written)})
    return bytes(out)


def unknown_fields(api_key: int, answer: Mapping[str, Any]) -> list[str]:
    """For tests: return names in a response that no API version has; encoding drops misspelt fields silently."""
    known: dict[str, Any] = {}
    for version in versions(api_key):
        _collect(message_class(api_key, version, "response"), known)
    return list(_unknown(answer, known, ""))


def _collect(entity: type, known: dict[str, Any]) -> None:
    for field in entity_fields(entity):
        inner = known.setdefault(field.name, {})
        if field.entity is not None:
            _collect(field.entity, inner)


def _unknown(value: Mapping[str, Any], known: Mapping[str, Any], path: str) -> list[str]:
    found = []
    for name, inner in value.items():
        if name not in known:
            found.append(path + name)
            continue
        elements = inner if isinstance(inner, list | tuple) else [inner]
        for element in elements:
            if isinstance(element, Mapping):
                found += _unknown(element, known[name], f"{path}{name}.")
    return found

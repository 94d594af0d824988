"""Kafka record batches: CRC32C, codecs, reading, writing and validating, without the GIL underneath.

From Python::

    from kafka_cy.records import Record, build_batch, iterate_batches

    data = build_batch([Record(key=b"k", value=b"v", timestamp_ms=1)], compression="zstd")
    for batch in iterate_batches(data):
        print(batch.base_offset, batch.compression, batch.records())

Names are loaded at first use, so that importing one of the C modules costs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafka_cy.records.api import (
        CODECS,
        CONTROL,
        DEFAULT_LEVELS,
        DELETE_HORIZON,
        LOG_APPEND_TIME,
        TRANSACTIONAL,
        UNPACKED_BYTES_MAX,
        Batch,
        Columns,
        Validated,
        build_batch,
        compress,
        decompress,
        find_timestamp,
        iterate_batches,
        validate,
    )
    from kafka_cy.records.errors import BatchErrorCode, InvalidBatch
    from kafka_cy.records.record import Record

__all__ = [
    "CODECS",
    "CONTROL",
    "DEFAULT_LEVELS",
    "DELETE_HORIZON",
    "LOG_APPEND_TIME",
    "TRANSACTIONAL",
    "UNPACKED_BYTES_MAX",
    "Batch",
    "BatchErrorCode",
    "Columns",
    "InvalidBatch",
    "Record",
    "Validated",
    "build_batch",
    "compress",
    "decompress",
    "find_timestamp",
    "iterate_batches",
    "validate",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kafka_cy.records import api

    value: object = getattr(api, name)
    globals()[name] = value
    return value

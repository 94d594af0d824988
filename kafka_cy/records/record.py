"""A record, as Python callers give and get it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """One record. `offset` is absolute; -1 when building means "the next one".

    `timestamp_ms` is -1 where there is none. Keys of headers that are not UTF-8 read as surrogate escapes.
    """

    key: bytes | None = None
    value: bytes | None = None
    timestamp_ms: int = -1
    headers: Headers = ()
    offset: int = -1

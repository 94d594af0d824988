"""A record, as Python callers pass and receive it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """One record. `offset` is absolute; -1 when building means "the next one".

    `timestamp_ms` is -1 if missing. Header keys that are not UTF-8 are decoded with surrogate escapes.
    """

    key: bytes | None = None
    value: bytes | None = None
    timestamp_ms: int = -1
    headers: Headers = ()
    offset: int = -1

"""Which fetcher of a leader a partition belongs to, as in Kafka (AbstractFetcherManager.getFetcherId)."""

from __future__ import annotations


def java_hash(text: str) -> int:
    """String.hashCode: over UTF-16 code units, a signed 32-bit number."""
    value = 0
    units = text.encode("utf-16-be")
    for i in range(0, len(units), 2):
        value = (31 * value + int.from_bytes(units[i : i + 2], "big")) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def fetcher_of(topic: str, partition: int, fetchers: int) -> int:
    """0 to `fetchers` - 1 (num.replica.fetchers)."""
    mixed = (31 * java_hash(topic) + partition) & 0xFFFFFFFF
    signed = mixed - (1 << 32) if mixed >= 1 << 31 else mixed
    return (signed & 0x7FFFFFFF if signed == -(1 << 31) else abs(signed)) % fetchers

"""Topic ids as keys of sets and dictionaries that are filled from a request."""

from __future__ import annotations

from uuid import UUID


def id_key(topic_id: UUID | None) -> bytes | None:
    """The 16 bytes of an id; None stays None.

    A client can compute many ids with the same hash, because uuid.UUID hashes as its number modulo 2^61 - 1. A dictionary
    of such ids takes time in the square of their number. The hash of bytes is seeded.
    """
    return None if topic_id is None else topic_id.bytes

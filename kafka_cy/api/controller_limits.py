"""Limits of the requests with which a controller tells a broker about partitions: LeaderAndIsr, StopReplica, UpdateMetadata."""

from typing import Final

LONG_BODY_BYTES: Final = 16 << 10  # a longer one is decoded on another thread
# Of all arrays of a request together. A controller tells a broker that has started of all partitions in one request, each with
# about eight elements, and repeats it until it is answered: so this is more than kafkacy.control.request.max.elements, which is for
# requests of clients. The encoded request is limited as theirs (kafkacy.control.request.max.bytes).
ELEMENTS_MAX: Final = 2_000_000

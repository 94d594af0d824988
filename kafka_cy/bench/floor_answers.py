"""The floor's ready-made answers to what librdkafka asks around the records of a transaction.

librdkafka asks for versions, metadata and the coordinator, initializes its producer, and ends each transaction. Each answer is
the same for every client and every time. The versions that ApiVersions names are the only ones that the floor understands.
"""

from __future__ import annotations

import struct

from kafka_cy.bench.requests import string
from kafka_cy.bench.wire import NO_TAGS, uvarint

PRODUCE, FETCH, METADATA, FIND_COORDINATOR, API_VERSIONS, INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN = 0, 1, 3, 10, 18, 22, 24, 26
#: The highest version of each API. librdkafka asks in this version; the lower ones are listed because it looks for some of them.
VERSIONS = {
    PRODUCE: 7, FETCH: 4, METADATA: 4, FIND_COORDINATOR: 1, API_VERSIONS: 3, INIT_PRODUCER_ID: 0, ADD_PARTITIONS: 0, END_TXN: 0,
}  # fmt: skip
TOPIC = "floor"
NODE_ID = 1
PRODUCER_ID = 1
NO_THROTTLE_NO_ERROR = struct.pack(">ih", 0, 0)


def answers(host: str, port: int, partitions: int) -> dict[int, bytes]:
    """The answer of each API after its correlation id; the topic `TOPIC` has this many partitions."""
    node = struct.pack(">i", NODE_ID) + string(host) + struct.pack(">i", port)
    return {
        API_VERSIONS: _versions(),
        METADATA: _metadata(node, partitions),
        FIND_COORDINATOR: NO_THROTTLE_NO_ERROR + struct.pack(">h", -1) + node,
        INIT_PRODUCER_ID: NO_THROTTLE_NO_ERROR + struct.pack(">qh", PRODUCER_ID, 0),
        END_TXN: NO_THROTTLE_NO_ERROR,
    }


def _versions() -> bytes:
    rows = [struct.pack(">hhh", key, 0, newest) + NO_TAGS for key, newest in VERSIONS.items()]
    return struct.pack(">h", 0) + uvarint(len(rows) + 1) + b"".join(rows) + struct.pack(">i", 0) + NO_TAGS


def _metadata(node: bytes, partitions: int) -> bytes:
    """Version 4: throttle time, brokers with their rack, cluster id, controller, topics."""
    of_partition = [struct.pack(">hiiiiii", 0, index, NODE_ID, 1, NODE_ID, 1, NODE_ID) for index in range(partitions)]
    topic = struct.pack(">h", 0) + string(TOPIC) + struct.pack(">bi", 0, partitions) + b"".join(of_partition)
    brokers = struct.pack(">ii", 0, 1) + node + struct.pack(">h", -1)
    return brokers + string(TOPIC) + struct.pack(">ii", NODE_ID, 1) + topic

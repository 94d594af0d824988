"""The largest change that ZooKeeper takes: it closes the connection of who sends more than jute.maxbuffer, and says nothing.

Whoever then repeats the change does so for ever. So a change that is larger is refused here, and not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafka_cy.cluster.store import ChangeTooLarge, Check, Delete, Operation

CHANGE_BYTES_MAX: Final = 1_040_000  # 8,575 less than jute.maxbuffer: ZooKeeper's own servers add to what they pass on
OPERATION_BYTES: Final = 150  # of an operation, beside path and data, with the access control list of a new node


def change_bytes(operations: Sequence[Operation], chroot: str = "") -> int:
    """How many bytes ZooKeeper gets of a change, or a few more."""
    size = (OPERATION_BYTES + len(chroot.encode())) * len(operations)
    for each in operations:
        size += len(each.path.encode())
        if not isinstance(each, Check | Delete) and each.data is not None:
            size += len(each.data)
    return size


def too_large(operations: Sequence[Operation], chroot: str = "") -> ChangeTooLarge | None:
    """Why the change cannot be made; None if it can."""
    size = change_bytes(operations, chroot)
    if size <= CHANGE_BYTES_MAX:
        return None
    return ChangeTooLarge(f"ZooKeeper takes changes of at most {CHANGE_BYTES_MAX} bytes; this one has {size}")

"""inter.broker.protocol.version: what brokers that are not all upgraded yet have in common. Nothing else is negotiated.

Kafka: MetadataVersion.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NEWEST_IV = 99  # "2.8" means the last internal version (IV) of that release


class InterBrokerVersion(NamedTuple):
    """A release and its internal version, in their order."""

    major: int
    minor: int
    iv: int = 0

    @classmethod
    def parse(cls, text: str) -> InterBrokerVersion:
        """Of a text such as "3.9" or "2.8-IV1". Raises ValueError."""
        match = re.fullmatch(r"(\d+)\.(\d+)(?:\.\d+)?(?:-IV(\d+))?", text)
        if match is None:
            raise ValueError(f"inter.broker.protocol.version={text}")
        return cls(int(match[1]), int(match[2]), NEWEST_IV if match[3] is None else int(match[3]))

    @property
    def registers_features(self) -> bool:
        """Whether registrations name features, and /feature says that they are enabled."""
        return self >= (2, 7, 0)

    @property
    def asks_for_isr_changes(self) -> bool:
        """Whether a leader asks the controller for a new ISR (AlterPartition); before, it writes the ISR itself."""
        return self >= (2, 7, 2)

    @property
    def uses_topic_ids(self) -> bool:
        """Whether every topic gets an id."""
        return self >= (2, 8, 0)

    @property
    def asks_for_producer_ids(self) -> bool:
        """Whether producer ids come from the controller (AllocateProducerIds); before, each broker takes blocks itself."""
        return self >= (3, 0, 0)

    @property
    def has_leader_recovery(self) -> bool:
        """Whether an unclean election is stored with the state (KIP-704)."""
        return self >= (3, 2, 0)

    @property
    def feature_node_version(self) -> int:
        """The version of /feature: brokers of earlier releases end when they read a later one."""
        return 2 if self >= (3, 3, 0) else 1

    @property
    def registration_version(self) -> int:
        """The version of /brokers/ids/<id>."""
        return 5 if self.registers_features else 4

    @property
    def write_txn_markers(self) -> int:
        """The version of WriteTxnMarkers."""
        return 1 if self >= (2, 8, 0) else 0

from typing import Any, Final, NamedTuple

from kafka_cy.coordinator.committed_offsets import CommittedOffsets

OPEN_FOR_NOBODY: Final = 0
OPEN_FOR_MEMBERS: Final = 1
OPEN_FOR_SIMPLE: Final = 2
OPEN_FOR_HEARTBEATS: Final = 3

class Steady(NamedTuple):
    """When heartbeats of settled members with this epoch need no decision: until then (monotonic), or `version` changes."""

    api_key: int
    epoch: int
    heartbeat_interval_ms: int
    version: int
    until_s: float
    endpoint_epoch: int = 0

class OpenLog:
    """The partition of `__consumer_offsets` that reactors append to."""

    def __init__(self, hosted: Any, stored_timeout_ms: int = 5000) -> None:
        """`hosted` is a HostedPartition; a commit waits for `stored_timeout_ms` until it is stored. Raises TypeError."""
    def lose(self) -> None:
        """No reactor appends to the partition any more when this returns."""

class OpenGroup:
    """The door of one group, shut at first. The group can be found until it is removed or this object ends."""

    def __init__(self, group: bytes, offsets: CommittedOffsets, log: OpenLog) -> None:
        """Raises ValueError (the id is too long), MemoryError."""
    def open(
        self, open_for: int, batch_bytes_max: int, metadata_bytes_max: int, steady: Steady | None = None
    ) -> None:
        """Let reactors commit, for those that `open_for` names; batches and metadata at most this large."""
    def shut(self) -> None:
        """No reactor commits for the group any more when this returns."""
    def remove(self) -> None:
        """shut(), for good."""

def hold_gate(group: bytes, held_fd: int, end_fd: int) -> None: ...
def fence() -> None:
    """Wait until every commit that reactors are working on is stored."""

def unsteady() -> None:
    """Something has changed on which groups may depend: no group is steady until the coordinator says so again."""

def version() -> int:
    """Grows with each `unsteady`."""

def count() -> int:
    """How many groups have a door. Any thread."""

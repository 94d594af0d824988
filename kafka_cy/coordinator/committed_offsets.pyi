from collections.abc import Iterator, Mapping, Sequence

from kafka_cy.coordinator.records import CommittedOffset

class OffsetsCopy:
    """Offsets of one topic as they were at one moment; building Python objects from it takes longer than the copy."""

    def __len__(self) -> int: ...
    def items(self) -> list[tuple[int, CommittedOffset | None]]:
        """(partition, offset) pairs; None for a partition that was asked for and has no offset. Any thread."""

class CommittedOffsets(Mapping[str, dict[int, CommittedOffset]]):
    """Topic -> partition -> offset. As a mapping it shows copies; only `put` and `remove` change it."""

    def find(self, topic: str, partition: int) -> CommittedOffset | None:
        """The offset of one partition."""
    def put(self, topic: str, partition: int, committed: CommittedOffset) -> None:
        """Store an offset. The coordinator's thread. Raises MemoryError: nothing has changed."""
    def has_room(self, topic: str, partition: int, metadata: str | None) -> bool:
        """Whether an offset with the metadata can be stored without more memory."""
    def remove(self, topic: str, partition: int) -> None:
        """Forget an offset; nothing happens when there is none. The coordinator's thread."""
    def partitions(self, topic: str) -> list[int]:
        """The partitions of the topic that have an offset."""
    def positions(self, topic: str) -> list[tuple[int, int]]:
        """(partition, committed offset) pairs of the topic."""
    def copy_of(self, topic: str, partitions: Sequence[int] | None = None) -> OffsetsCopy:
        """A copy of the topic's offsets, or of those of the partitions. Raises MemoryError, OverflowError (not an int32)."""
    @property
    def count(self) -> int:
        """How many offsets there are."""

    def __getitem__(self, topic: str) -> dict[int, CommittedOffset]: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

def held_bytes() -> int:
    """The memory of all groups' offsets. Any thread."""

def are_full() -> bool:
    """Whether `held_bytes` has reached the limit. Commits that need more memory are to be refused; `put` refuses none."""

def set_bytes_max(bytes_max: int) -> None:
    """Set the limit (kafkacy.committed.offsets.max.bytes)."""

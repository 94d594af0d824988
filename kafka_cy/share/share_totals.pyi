class ShareCounts:
    """Of all share partitions of a broker since the start. Any thread may use it."""

    @property
    def ranges(self) -> int:
        """Ranges of records that are in flight now."""
    @property
    def acknowledged(self) -> dict[str, int]:
        """Records whose acknowledgement was stored, by its type."""
    @property
    def lock_timeouts(self) -> int:
        """Records whose lock expired."""
    @property
    def failed_writes(self) -> int:
        """States of share partitions that could not be stored: what they would have changed is undone."""
    @property
    def refused(self) -> int:
        """Fetches that got nothing because too many ranges are in flight."""
    @property
    def load_times(self) -> list[int]:
        """How often it took so long to read the state of a share partition, by bucket of base/histogram, in nanoseconds."""
    @property
    def look_times(self) -> list[int]:
        """The same for looks of fetches for records in a share partition."""
    @property
    def look_percents(self) -> list[int]:
        """The same for the share of these times, in percent of the time since the end of the look before."""
    def partition_loaded(self, duration_s: float) -> None: ...
    def locks_expired(self, records: int) -> None: ...
    def write_failed(self) -> None: ...
    def refuse(self) -> None: ...

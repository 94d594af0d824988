class GroupCounts:
    """Of the share partitions of one group on this broker. Any thread may use it."""

    @property
    def records(self) -> int:
        """Records between the first that is not finished and the last that was delivered."""
    @property
    def ranges(self) -> int:
        """Ranges of these records."""
    @property
    def full_looks(self) -> int:
        """Looks into a share partition that had as many records in flight as it may have, all of them locked."""
    @property
    def range_records(self) -> list[int]:
        """How many records a range had when it was made, by bucket of base/histogram."""
    @property
    def fetch_percents(self) -> list[int]:
        """The same for the share partitions of a fetch that it could lock records of, in percent of all that it asked for."""
    @property
    def acquire_times(self) -> list[int]:
        """The same for the times until a fetch could lock records of any, in nanoseconds."""
    def acquired(self, duration_s: float) -> None: ...
    def fetch_ended(self, acquired: int, wanted: int) -> None: ...

class DurationCounts:
    """How often something took how long. Owner: one thread that adds; any thread reads."""

    def add(self, duration_s: float) -> None: ...
    def counts(self) -> list[int]:
        """By bucket of base/histogram, in nanoseconds, since the start."""

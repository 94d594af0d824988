"""Durations of kio's request entities."""

from __future__ import annotations

from datetime import timedelta


def milliseconds(value: timedelta | int) -> int:
    """A field that kio gives as a timedelta (or as a plain number of milliseconds), in milliseconds."""
    return value // timedelta(milliseconds=1) if isinstance(value, timedelta) else value

"""Kafka's limit of what one request changes in the metadata; above it, the whole request is refused (POLICY_VIOLATION)."""

from __future__ import annotations

from typing import Final

RECORDS_PER_REQUEST_MAX: Final = 10_000  # one for each topic, partition and setting, as in Kafka's controller
TOO_MANY_RECORDS: Final = "Unable to perform excessively large batch operation."

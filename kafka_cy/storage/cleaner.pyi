from typing import Any

from kafka_cy.storage.log import PartitionLog

def cleanable(
    log: PartitionLog, *, last_stable_offset: int | None = None, now_ms: int | None = None
) -> dict[str, int]: ...
def clean(
    log: PartitionLog,
    *,
    last_stable_offset: int | None = None,
    now_ms: int | None = None,
    dedupe_buffer_bytes: int = ...,
    io_buffer_bytes: int = ...,
    load_factor: float = ...,
) -> dict[str, Any] | None: ...

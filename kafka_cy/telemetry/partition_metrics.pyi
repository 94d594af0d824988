from typing import Any

def write(
    hosted: list[Any],
    deleted_counts: list[int],
    openmetrics: bool,
    persec: bool,
    late_before_ms: int = 0,
    persec_total: bool = False,
) -> tuple[bytes, dict[str, int]]: ...
def label_value(value: bytes) -> bytes: ...

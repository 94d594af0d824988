"""Rules that a negative control breaks."""

from __future__ import annotations

from typing import NamedTuple


class Rules(NamedTuple):
    """Of a leader."""

    high_watermark_over_maximal_isr: bool = True
    truncate_by_epoch: bool = True
    expansion_waits_for_epoch_start: bool = True
    joins_with_broker_epoch: bool = True
    offline_partitions_stop: bool = True

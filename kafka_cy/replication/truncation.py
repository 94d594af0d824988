"""Where a follower cuts its log, from what its leader says of an epoch (KIP-101, KIP-279, KIP-595). Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

UNDEFINED = -1


class Truncation(NamedTuple):
    """Keep everything below `offset`. Not `complete`: the leader has to be asked again, about an earlier epoch."""

    offset: int
    complete: bool


def truncation(
    leader_epoch: int,
    leader_end_offset: int,
    end_offset_for_epoch: Callable[[int], tuple[int, int]],
    log_end_offset: int,
    high_watermark: int,
) -> Truncation:
    """The cut after the leader answered that its largest epoch not above the asked one is `leader_epoch`, and where that ends.

    `end_offset_for_epoch` is the follower's own answer to the same question: (epoch, end offset), both -1 if unknown.
    Kafka: AbstractFetcherThread.getOffsetTruncationState.
    """
    if leader_end_offset == UNDEFINED:
        return Truncation(min(high_watermark, log_end_offset), True)  # the leader knows no epochs: what is committed stays
    if leader_epoch == UNDEFINED:
        return Truncation(min(leader_end_offset, log_end_offset), True)
    own_epoch, own_end_offset = end_offset_for_epoch(leader_epoch)
    if own_end_offset == UNDEFINED:
        return Truncation(min(leader_end_offset, log_end_offset), True)
    if own_epoch != leader_epoch:
        # The follower's last epoch below the leader's: what it has above that is not the leader's in any case.
        return Truncation(min(own_end_offset, log_end_offset), False)
    return Truncation(min(own_end_offset, leader_end_offset, log_end_offset), True)

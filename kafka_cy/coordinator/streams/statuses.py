"""What the broker tells members besides their tasks (Kafka: StreamsGroupHeartbeatResponse.Status)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

STALE_TOPOLOGY: Final = 0
MISSING_SOURCE_TOPICS: Final = 1
INCORRECTLY_PARTITIONED_TOPICS: Final = 2
MISSING_INTERNAL_TOPICS: Final = 3
SHUTDOWN_APPLICATION: Final = 4
ASSIGNMENT_DELAYED: Final = 5

NAMES_SHOWN_MAX: Final = 3  # of topics in a text


class Status(NamedTuple):
    """`text` is for the log of the client."""

    code: int
    text: str

    def row(self) -> dict[str, Any]:
        """As the response shows it."""
        return {"status_code": self.code, "status_detail": self.text}


INITIAL_DELAY: Final = Status(
    ASSIGNMENT_DELAYED, "Assignment delayed due to the configured initial rebalance delay."
)
ASSIGNMENT_INTERVAL: Final = Status(
    ASSIGNMENT_DELAYED, "Assignment delayed due to the configured assignment interval."
)


def stale_topology(member_epoch: int, group_epoch: int) -> Status:
    """The member has an older topology than the group; these are the topologies' epochs."""
    text = f"The member's topology epoch {member_epoch} is behind the group's topology epoch {group_epoch}."
    return Status(STALE_TOPOLOGY, text)


def shutdown_requested(member_id: str) -> Status:
    """A member asked that the whole application ends."""
    text = (
        f"Streams group member {member_id} encountered a fatal error and requested a shutdown for the entire application."
    )
    return Status(SHUTDOWN_APPLICATION, text)


def not_authorized(problem: Status | None, names: Collection[str]) -> Status | None:
    """The problem of a topology, with the internal topics that the member may not create (KafkaApis)."""
    if not names:
        return problem
    text = f"Unauthorized to CREATE on topics {summarized(names)}."
    return Status(MISSING_INTERNAL_TOPICS, text if problem is None else f"{problem.text}; {text}")


def summarized(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(sorted(names)[:NAMES_SHOWN_MAX])
    more = len(names) - NAMES_SHOWN_MAX
    return f"{shown} and {more} additional topics" if more > 0 else shown

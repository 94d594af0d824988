"""How many partitions a topic may be extended to, with the messages of Kafka: asked by CreatePartitions and by the controller."""

from __future__ import annotations


def problem_of_count(name: str, existing: int, count: int) -> str | None:
    """Why a topic with `existing` partitions cannot get `count` (INVALID_PARTITIONS); None if it can."""
    if count == existing:
        return f"Topic already has {existing} partition(s)."
    if count < existing:
        return f"The topic {name} currently has {existing} partition(s); {count} would not be an increase."
    return None


def problem_of_assignments(added: int, assigned: int) -> str | None:
    """Why `added` partitions cannot have `assigned` manual assignments (INVALID_REPLICA_ASSIGNMENT); None if they can."""
    if assigned == added:
        return None
    return f"Attempted to add {added} additional partition(s), but only {assigned} assignment(s) were specified."

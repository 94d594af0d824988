"""Which topic names Kafka takes."""

from __future__ import annotations

NAME_CHARACTERS_MAX = 249
OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"
INTERNAL_TOPICS = frozenset((OFFSETS_TOPIC, TRANSACTIONS_TOPIC))

_LEGAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def problem_of(name: str) -> str | None:
    """Why the name is refused (INVALID_TOPIC_EXCEPTION), or None."""
    if not name:
        return "the topic name is empty"
    if name in (".", ".."):
        return "the topic name cannot be '.' or '..'"
    if len(name) > NAME_CHARACTERS_MAX:
        return f"the topic name is {len(name)} characters long, at most {NAME_CHARACTERS_MAX} are allowed"
    if not _LEGAL.issuperset(name):
        return f"the topic name '{name}' holds characters other than ASCII letters and digits, '.', '_' and '-'"
    return None


def collision_key(name: str) -> str:
    """Names with the same key collide: metric names do not tell '.' from '_'."""
    return name.replace(".", "_")

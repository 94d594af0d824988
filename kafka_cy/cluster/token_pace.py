"""How often users may change delegation tokens: each change leaves a notification that all brokers of a cluster read."""

from __future__ import annotations

from typing import Final

CHANGES_AT_ONCE: Final = 100  # of one user
MS_PER_CHANGE: Final = 100  # from then on
_USERS_SWEPT: Final = 1000


class TooManyChanges(Exception):
    """The user changes tokens too often. Nothing was changed."""


class TokenPace:
    """Owner: the controller's thread. Limit: twice the users that changed a token within the last 10 seconds, and 1,000 more."""

    def __init__(self) -> None:
        self._used_until_ms: dict[str, int] = {}  # when the changes of a user are forgotten
        self._swept_at = _USERS_SWEPT

    def take(self, user: str, now_ms: int) -> None:
        """The user changes a token now. Raises TooManyChanges."""
        until_ms = max(self._used_until_ms.get(user, 0), now_ms) + MS_PER_CHANGE
        if now_ms < until_ms - CHANGES_AT_ONCE * MS_PER_CHANGE <= now_ms + MS_PER_CHANGE:  # not if the clock was set back
            raise TooManyChanges(f"more than {1000 // MS_PER_CHANGE} changes of delegation tokens a second")
        self._used_until_ms[user] = min(until_ms, now_ms + CHANGES_AT_ONCE * MS_PER_CHANGE)
        if len(self._used_until_ms) > self._swept_at:
            self._used_until_ms = {name: until for name, until in self._used_until_ms.items() if until > now_ms}
            self._swept_at = 2 * len(self._used_until_ms) + _USERS_SWEPT

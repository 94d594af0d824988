"""A text that must not be shown."""

from typing import Final

HIDDEN: Final = "[hidden]"


class Secret:
    """A password. Neither repr() nor str() shows it; code that needs it calls reveal()."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text. What is done with it must end in no log, error or metric."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be stored")

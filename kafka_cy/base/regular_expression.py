"""Regular expressions that clients send. RE2 takes linear time and bounded memory, whatever the expression and the text.

Kafka uses RE2/J, a port of the same library. The texts of the errors differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

# Bytes of one compiled expression and its caches; a larger one is invalid (Kafka has no limit). Where the caches are too small the
# time for a text is the product of both sizes: with 1 MiB the worst expressions took 65 ms for the name of a topic, now 22 ms.
MEMORY_MAX: Final = 1 << 18
ERROR_CHARS_MAX: Final = 200


class InvalidRegularExpression(ValueError):
    """RE2 does not accept the expression."""


class RegularExpression:
    """A compiled expression."""

    __slots__ = ("_pattern",)

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def matches(self, text: str) -> bool:
        """Whether the whole text matches."""
        return self._pattern.fullmatch(text) is not None

    @property
    def groups(self) -> int:
        """How many groups it captures; 0 unless it was compiled with `captures`."""
        return int(self._pattern.groups)

    @property
    def group_names(self) -> Mapping[str, int]:
        """The groups that have names."""
        names: Mapping[str, int] = self._pattern.groupindex
        return names

    def replace_all(self, text: str, replacement: Callable[[Any], str]) -> str:
        """Replace each match by what the function makes of it; `match[n]` is a group, None if it captured nothing.

        Each match is looked for in linear time, so all of them may take the square of the text's length.
        """
        replaced: str = self._pattern.sub(replacement, text)
        return replaced

    def replace_first(self, text: str, replacement: Callable[[Any], str]) -> str:
        """Like replace_all, for the first match only."""
        replaced: str = self._pattern.sub(replacement, text, 1)
        return replaced


def compile_regular_expression(regex: str, *, captures: bool = False) -> RegularExpression:
    """`captures`: keep what groups match, which costs time. Raises InvalidRegularExpression."""
    import re2  # with the first expression: it is not in the start path

    options = re2.Options()
    options.max_mem = MEMORY_MAX
    options.log_errors = False
    options.never_capture = not captures
    try:
        return RegularExpression(re2.compile(regex, options))
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidRegularExpression(text[:ERROR_CHARS_MAX]) from None

"""Parser of Java `.properties` text, the format of `server.properties`.

A line is `key = value`, `key: value` or `key value`. `#` and `!` start a comment line. A backslash at the end of a line
joins it with the next line, without that line's leading blanks. Escapes are `\\t \\n \\r \\f \\uXXXX`; a backslash before
any other character stands for that character. A later line wins over an earlier one with the same key.
"""

from collections.abc import Iterator

_BLANKS = " \t\f"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def parse_properties(text: str) -> dict[str, str]:
    """Parse the whole text. Raises ValueError for a malformed `\\u` escape; it names the key: the value may be a password."""
    result: dict[str, str] = {}
    for line in _logical_lines(text):
        end, value_at = _split(line)
        key = _unescape(line[:end], line[:end])
        result[key] = _unescape(line[value_at:], key)
    return result


def _physical_lines(text: str) -> Iterator[str]:
    # Only \n, \r and \r\n end a line; str.splitlines() splits at other characters too.
    yield from text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _logical_lines(text: str) -> Iterator[str]:
    pending: str | None = None
    for physical in _physical_lines(text):
        line = physical.lstrip(_BLANKS)
        if pending is None:
            if not line or line[0] in "#!":
                continue
            joined = line
        else:
            joined = pending + line
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            pending = joined[:-1]
            continue
        pending = None
        yield joined
    if pending:
        yield pending


def _split(line: str) -> tuple[int, int]:
    """Return the end of the key and the start of the value."""
    position = 0
    while position < len(line) and line[position] not in "=:" + _BLANKS:
        position += 2 if line[position] == "\\" else 1
    end = min(position, len(line))
    position = end
    while position < len(line) and line[position] in _BLANKS:
        position += 1
    if position < len(line) and line[position] in "=:":
        position += 1
        while position < len(line) and line[position] in _BLANKS:
            position += 1
    return end, position


def _unescape(text: str, key: str) -> str:
    if "\\" not in text:
        return text
    parts = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character != "\\":
            parts.append(character)
            continue
        if position == len(text):
            break
        escaped = text[position]
        position += 1
        if escaped == "u":
            digits = text[position : position + 4]
            if len(digits) != 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise ValueError(f"malformed \\uXXXX escape in the line of {key}")
            parts.append(chr(int(digits, 16)))
            position += 4
        else:
            parts.append(_ESCAPES.get(escaped, escaped))
    # A character outside the basic plane is written as two escapes, a surrogate pair.
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

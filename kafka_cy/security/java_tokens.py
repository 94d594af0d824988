"""Java's StreamTokenizer, as far as JAAS texts need it: words, quoted texts, comments and single characters.

A number is a token without a text, as in Java: a bare value cannot begin with a digit, a point or (before a digit) a minus.
"""

from __future__ import annotations

from typing import Final, NamedTuple

WORD: Final = "word"
QUOTED: Final = "quoted"  # in double quotes
SINGLE: Final = "single-quoted"
NUMBER: Final = "number"
END: Final = "end"

_DIGITS: Final = frozenset("0123456789")
_OCTAL: Final = frozenset("01234567")
_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Token(NamedTuple):
    """One token. `kind` is WORD, QUOTED, SINGLE, NUMBER, END or the character itself. Only the first three have a text."""

    kind: str
    text: str | None
    line: int

    def __repr__(self) -> str:
        return f"Token({self.kind}, line {self.line})"  # the text may be a password


class Tokens:
    """Reads tokens one after the other, in time that is linear in the length of the text."""

    def __init__(self, text: str, further_letters: str) -> None:
        """`further_letters`: what may also be in a word, beside letters, digits, points and characters from U+00A0 on."""
        self._text = text
        self._at = 0
        self._line = 1
        self._further = further_letters

    def next(self) -> Token:
        """The next token; END at the end of the text, again and again."""
        self._skip()
        text, begin = self._text, self._at
        if begin == len(text):
            return Token(END, None, self._line)
        first = text[begin]
        if first in _DIGITS or first in ".-":
            return self._number(first)
        if self._is_letter(first):
            return self._word()
        if first in "\"'":
            return self._quoted(first)
        self._at += 1
        return Token(first, None, self._line)

    def _is_letter(self, character: str) -> bool:
        if character >= "\x80":
            return character >= "\xa0"
        return character.isalpha() or character in self._further

    def _skip(self) -> None:
        """Blanks and comments. A single slash begins a comment, too: it is the comment character of StreamTokenizer."""
        text, length = self._text, len(self._text)
        while self._at < length:
            character = text[self._at]
            if character <= " ":
                self._line += character == "\n" or (character == "\r" and text[self._at + 1 : self._at + 2] != "\n")
                self._at += 1
            elif text.startswith("/*", self._at):
                end = text.find("*/", self._at + 2)
                end = length if end < 0 else end + 2
                self._line += text.count("\n", self._at, end)
                self._at = end
            elif character == "/":
                while self._at < length and text[self._at] not in "\r\n":
                    self._at += 1
            else:
                return

    def _number(self, first: str) -> Token:
        """A number. A minus without one is a character."""
        text = self._text
        self._at += 1
        if first == "-" and text[self._at : self._at + 1] not in (*_DIGITS, "."):
            return Token("-", None, self._line)
        has_point = first == "."
        while self._at < len(text):
            character = text[self._at]
            if character not in _DIGITS and (character != "." or has_point):
                break
            has_point = has_point or character == "."
            self._at += 1
        return Token(NUMBER, None, self._line)

    def _word(self) -> Token:
        text, begin = self._text, self._at
        while self._at < len(text) and (text[self._at] in _DIGITS or text[self._at] in ".-" or self._is_letter(text[self._at])):
            self._at += 1
        return Token(WORD, text[begin : self._at], self._line)

    def _quoted(self, quote: str) -> Token:
        """A text in quotes. A line end, or the end of the text, ends it as well."""
        text, parts = self._text, []
        self._at += 1
        while self._at < len(text) and text[self._at] not in "\r\n":
            character = text[self._at]
            self._at += 1
            if character == quote:
                break
            parts.append(self._escaped() if character == "\\" else character)
        return Token(QUOTED if quote == '"' else SINGLE, "".join(parts), self._line)

    def _escaped(self) -> str:
        """The character that an escape stands for: as in Java, or up to three octal digits."""
        text, begin = self._text, self._at
        if begin == len(text):
            return ""
        first = text[begin]
        self._at += 1
        if first not in _OCTAL:
            return _ESCAPES.get(first, first)
        while self._at < len(text) and text[self._at] in _OCTAL and self._at - begin < (3 if first <= "3" else 2):
            self._at += 1
        return chr(int(text[begin : self._at], 8))

"""Java's regular expressions and replacements in rules of the configuration.

RE2 evaluates the expressions in linear time. What RE2 lacks, or would read as something else, is refused when the rules are read. A
few characters are letters or ends of lines for one and not for the other: no rule may be tried with texts that have them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from kafka_cy.base.regular_expression import InvalidRegularExpression, RegularExpression, compile_regular_expression

# Ends of lines, which `.` matches in one of both; the vertical tab (`\s`); and what (?i) in RE2 takes for k and s.
READ_DIFFERENTLY: Final = re.compile("[\n\v\r\x85\u2028\u2029\u212a\u017f]")
# Inside of an expression: what RE2 accepts, but reads in another way than Java.
_OTHER_ESCAPE: Final = re.compile(r"\\([0-9vC])")
_OTHER_GROUP: Final = re.compile(r"\(\?(P|[a-zA-Z-]*[Uud])")



def compile_java_expression(expression: str) -> RegularExpression:
    """Raises ValueError that names the expression as an invalid rule."""
    problem = _read_differently(expression)
    if problem is None:
        try:
            return compile_regular_expression(expression, captures=True)
        except InvalidRegularExpression as error:
            problem = str(error)
    raise ValueError(f"Invalid rule: `{expression}` is not a regular expression of Java that RE2 can evaluate: {problem}")


def _read_differently(expression: str) -> str | None:
    """What of the expression RE2 would read as something else; None: nothing."""
    if "(?" in expression and not expression.isascii():
        return "(?...) together with letters beyond ASCII"
    at = 0
    while at < len(expression):
        if expression.startswith(r"\Q", at):
            end = expression.find(r"\E", at)
            at = len(expression) if end < 0 else end + 2
            continue
        other = _OTHER_ESCAPE.match(expression, at) or _OTHER_GROUP.match(expression, at)
        if other is not None:
            return other[0]
        if expression[at] == "[":
            at, problem = _class_end(expression, at)
            if problem is not None:
                return problem
        at += 2 if expression.startswith("\\", at) else 1
    return None


def _class_end(expression: str, at: int) -> tuple[int, str | None]:
    """The place of the ] of the class that begins at `at`, and what is read differently in it."""
    begin = at + 2 if expression.startswith("[^", at) else at + 1
    at = begin
    while at < len(expression) and (at == begin or expression[at] != "]"):
        other = _OTHER_ESCAPE.match(expression, at)
        if other is not None or expression[at] == "[" or expression.startswith("&&", at):
            return at, f"{other[0] if other else expression[at : at + 2]} in a class"
        at += 2 if expression[at] == "\\" else 1
    return at, None


class Replacement:
    """A replacement of Java's Matcher.appendReplacement, as texts and numbers of groups."""

    def __init__(self, text: str, groups: int, names: Any) -> None:
        """Raises ValueError where Java fails when it replaces."""
        self._text, self._groups, self._names = text, groups, names
        self._at = 0
        self.parts: list[str | int] = []
        while self._at < len(text):
            letter = text[self._at]
            self._at += 1
            self.parts.append(self._escaped() if letter == "\\" else self._group() if letter == "$" else letter)

    def _escaped(self) -> str:
        if self._at == len(self._text):
            raise ValueError("character to be escaped is missing")
        self._at += 1
        return self._text[self._at - 1]

    def _group(self) -> int:
        letter = self._text[self._at : self._at + 1]
        if letter == "{":
            end = self._text.find("}", self._at)
            name = self._text[self._at + 1 : end]
            if end < 0 or name not in self._names:
                raise ValueError(f"No group with name {{{name}}}")
            self._at = end + 1
            return int(self._names[name])
        if not ("0" <= letter <= "9"):
            raise ValueError("Illegal group reference: group index is missing" if not letter else "Illegal group reference")
        number = int(letter)
        self._at += 1
        while (digit := self._text[self._at : self._at + 1]) and "0" <= digit <= "9" and number * 10 + int(digit) <= self._groups:
            number = number * 10 + int(digit)
            self._at += 1
        if number > self._groups:
            raise ValueError(f"No group {number}")
        return number

    def filled(self, match: Any) -> str:
        """The replacement for a match; a group that captured nothing is empty."""
        return "".join(part if isinstance(part, str) else match[part] or "" for part in self.parts)

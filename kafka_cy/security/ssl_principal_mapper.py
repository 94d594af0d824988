"""`ssl.principal.mapping.rules`: the name of a user from the distinguished name in a certificate (SslPrincipalMapper, KIP-371).

The expressions are Java's, and RE2 evaluates them in linear time. What RE2 lacks, or would read as something else, is refused when
the rules are read. A few characters are letters or ends of lines for one and not for the other: no RULE applies to names with them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from kafka_cy.base.regular_expression import InvalidRegularExpression, RegularExpression, compile_regular_expression

NAME_CHARS_MAX: Final = 16_384  # of a distinguished name, and of what a rule makes of it

_RULE: Final = r"(DEFAULT)|RULE:((\\.|[^\\/])*)/((\\.|[^\\/])*)/([LU]?).*?|(.*?)"
_SPLITTER: Final = re.compile(rf"\s*({_RULE})\s*(,\s*|$)", re.ASCII)
_PARSER: Final = re.compile(_RULE, re.ASCII)
_BLANKS: Final = "".join(map(chr, range(33)))  # what Java's trim() removes
_BACK_REFERENCE: Final = re.compile(r"\$([0-9]+)")
# Ends of lines, which `.` matches in one of both; the vertical tab (`\s`); and what (?i) in RE2 takes for k and s.
_READ_DIFFERENTLY: Final = re.compile("[\n\v\r\x85\u2028\u2029\u212a\u017f]")
# Inside of an expression: what RE2 accepts, but reads in another way than Java.
_OTHER_ESCAPE: Final = re.compile(r"\\([0-9vC])")
_OTHER_GROUP: Final = re.compile(r"\(\?(P|[a-zA-Z-]*[Uud])")


class NoMatchingRule(LookupError):
    """No rule applies to the name: its owner may not connect (never as User:ANONYMOUS)."""


class SslPrincipalMapper:
    """Rules in their order. Immutable; any thread."""

    def __init__(self, rules: str) -> None:
        """Raises ValueError with Kafka's reason, or ours where the expression is the problem."""
        self._rules = [_Rule(*parts) for text in _split(rules) if (parts := _parse(text)) is not None]

    def name(self, distinguished_name: str) -> str:
        """Of the first rule that applies. Raises NoMatchingRule."""
        for rule in self._rules:
            found = rule.apply(distinguished_name)
            if found is not None:
                return found
        raise NoMatchingRule(f"No rules apply to {distinguished_name}, rules [{', '.join(map(str, self._rules))}]")


def _split(rules: str) -> list[str]:
    return [found[1] for found in _SPLITTER.finditer(rules.strip(_BLANKS))]


def _parse(rule: str) -> tuple[str, str | None, str, str] | None:
    """The text, the expression (None: DEFAULT), the replacement and L or U; None for an empty rule."""
    found = _PARSER.match(rule)
    assert found is not None  # it also matches nothing
    if found.end() != len(rule):
        raise ValueError(f"Invalid rule: `{rule}`, unmatched substring: `{rule[found.end() :]}`")
    if found[1] is not None:
        return "DEFAULT", None, "", ""
    if found[2] is None:
        return None
    return f"RULE:{found[2]}/{found[4]}" + (f"/{found[6]}" if found[6] else ""), found[2], found[4], found[6]


class _Rule:
    def __init__(self, text: str, expression: str | None, replacement: str, case: str) -> None:
        self._text, self._case = text, case
        self._expression: RegularExpression | None = None
        self._parts: list[str | int] = []
        if expression is not None:
            self._expression = _compile(expression)
            groups, names = self._expression.groups, self._expression.group_names
            try:
                self._parts = _Replacement(_escape_unknown_groups(replacement, groups), groups, names).parts
            except ValueError as error:
                raise ValueError(f"Invalid rule: `{text}`, {error}") from None

    def __str__(self) -> str:
        return self._text

    def apply(self, name: str) -> str | None:
        """None: it does not match."""
        if self._expression is None:
            return name
        if _READ_DIFFERENTLY.search(name) or not self._expression.matches(name):
            return None
        # As in Kafka: the whole name matches, and then each match in it is replaced.
        result = self._expression.replace_all(name, self._replace)
        if self._case:
            result = result.lower() if self._case == "L" else result.upper()
        return result

    def _replace(self, match: Any) -> str:
        return "".join(part if isinstance(part, str) else match[part] or "" for part in self._parts)


def _compile(expression: str) -> RegularExpression:
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


def _escape_unknown_groups(replacement: str, groups: int) -> str:
    """References to groups that do not exist stay as text, as far as Kafka's escapeLiteralBackReferences succeeds in it."""
    if groups == 0:
        return replacement
    result = replacement
    for found in _BACK_REFERENCE.finditer(replacement):
        if found[1].startswith("0"):
            continue
        number = int(found[1])
        while number > groups and number >= 10:
            number //= 10
        if number > groups:
            at = found.start(1) - 1  # of the original text, also in one that has grown
            result = result[:at] + "\\" + result[at:]
    return result


class _Replacement:
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
